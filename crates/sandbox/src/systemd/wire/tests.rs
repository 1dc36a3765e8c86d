use super::*;

fn sample() -> Message {
    let entry = Value::Struct(vec![
        Value::Str("PIDs".into()),
        Value::Variant(Box::new(Value::Array("u".into(), vec![Value::U32(7)]))),
    ]);
    Message {
        kind: CALL,
        serial: 0x0102_0304,
        fields: [
            (PATH, Value::Path("/org".into())),
            (REPLY_SERIAL, Value::U32(9)),
            (SIGNATURE, Value::Signature("ybnqiuxtdsogava(sv)asa(tt)".into())),
        ]
        .into(),
        body: vec![
            Value::Byte(1),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(3),
            Value::I32(-4),
            Value::U32(5),
            Value::I64(-6),
            Value::U64(u64::MAX),
            Value::Double(0.5),
            Value::Str("grün".into()),
            Value::Path("/a".into()),
            Value::Signature("a{sv}".into()),
            Value::Array("v".into(), vec![Value::Variant(Box::new(Value::Byte(3)))]),
            Value::Array("(sv)".into(), vec![entry.clone(), entry]),
            Value::Array("s".into(), vec![]),
            // An empty array of what begins on 8 is filled up all the same.
            Value::Array("(tt)".into(), vec![]),
        ],
    }
}

#[test]
fn what_is_written_is_read_back() {
    let message = sample();
    let bytes = message.encode();
    assert_eq!(Message::size(bytes.first_chunk().unwrap()), Ok(bytes.len()));
    assert_eq!(Message::decode(&bytes).unwrap(), message);
}

#[test]
fn values_lie_on_their_boundaries() {
    let mut out = vec![1];
    put(&mut out, &Value::U64(2));
    assert_eq!(out, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let mut out = Vec::new();
    put(&mut out, &Value::Array("t".into(), vec![]));
    assert_eq!(out, [0; 8]);
    let mut out = Vec::new();
    put(&mut out, &Value::Variant(Box::new(Value::Str("a".into()))));
    assert_eq!(out, [1, b's', 0, 0, 1, 0, 0, 0, b'a', 0]);
}

#[test]
fn the_other_byte_order_is_read() {
    let bytes =
        [b'B', SIGNAL, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 8, SIGNATURE, 1, b'g', 0, 1, b'u', 0, 0, 0, 0, 1, 2];
    // The header's array ends at 16 + 7, and is filled up to 24.
    let mut fixed = bytes;
    fixed[15] = 7;
    let message = Message::decode(&fixed).unwrap();
    assert_eq!((message.serial, message.body), (7, vec![Value::U32(0x102)]));
}

#[test]
fn no_bytes_make_the_reader_panic_or_hang() {
    let good = sample().encode();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 16).unwrap()
    };
    let mut errors = 0;
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=round % 4 {
            let at = random() % bytes.len();
            bytes[at] = [0, 1, 0xff, 0x7f, b'a', b'v', b'('][random() % 7];
        }
        bytes.truncate(if round % 3 == 0 { random() % good.len() } else { good.len() });
        errors += i32::from(Message::decode(&bytes).is_err());
    }
    assert!(errors > 10_000, "{errors}");
    let deep = Message {
        body: vec![(0..60).fold(Value::Byte(1), |inner, _| Value::Variant(Box::new(inner)))],
        ..Message::default()
    };
    assert_eq!(Message::decode(&deep.encode()), Err(WireError("it is nested too deeply")));
    let mut long = good.clone();
    long[7] = 0x70;
    assert!(Message::size(long.first_chunk().unwrap()).is_err());
    let unclosed = Message { body: vec![Value::Byte(1)], ..Message::default() };
    for signature in ["(", "a", "a(", ")", "a)", "z", "a()", "{yy}", "a({yy})"] {
        let mut bytes = unclosed.encode();
        let mut message = Message::decode(&bytes).unwrap();
        message.body.clear();
        message.fields.insert(SIGNATURE, Value::Signature(signature.into()));
        bytes = message.encode();
        bytes[4] = 8;
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Message::decode(&bytes).is_err(), "{signature}");
    }
}
