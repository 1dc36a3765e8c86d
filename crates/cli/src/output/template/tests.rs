use super::*;
use proptest::prelude::*;
use serde_json::json;

fn object() -> Value {
    json!({
        "ID": "abcdef", "Name": "/web", "Empty": "", "N": 7, "Neg": -3, "F": 1.5, "Yes": true, "No": false, "Null": null,
        "State": {"Status": "running", "Running": true, "Pid": 4711},
        "Config": {"Labels": {"a.b": "x", "tier": "front"}, "Env": ["A=1", "B=2"], "Cmd": null, "Volumes": null},
        "Ports": {"443/tcp": null, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
        "Mounts": [{"Source": "/a", "RW": true}, {"Source": "/b", "RW": false}],
        "None": [], "Mixed": [1, "y", null, true], "Big": 12345678901u64, "Huge": 1e21,
        "LogConfig": {"Type": "json-file", "Config": {}},
    })
}

fn plain(text: &str) -> Result<String, CliError> {
    let Format::Plain(template) = Format::parse(text)? else { return Err(CliError::failed("no plain template")) };
    template.render(&object())
}

#[test]
fn what_go_prints() {
    for (template, printed) in [
        // Fields and values.
        ("plain {x}", "plain {x}"),
        ("{{.ID}}: {{ .State.Running }} {{.State.Pid}}", "abcdef: true 4711"),
        ("{{.Config.Env}} {{.Config.Labels}}", "[A=1 B=2] map[a.b:x tier:front]"),
        ("{{.N}} {{.Neg}} {{.F}} {{.Big}} {{.Huge}}", "7 -3 1.5 12345678901 1000000000000000000000"),
        ("{{.Null}} {{.Mixed}}", "<nil> [1 y <nil> true]"),
        ("{{.Config.Cmd}} {{.Config.Volumes}}", "[] map[]"),
        ("{{.Null.Deeper}} {{.Config.Labels.none}}", "<no value> <no value>"),
        ("{{.Config.Labels.tier}} {{.LogConfig.Config.x}}", "front <no value>"),
        ("{{.State.Health}}", "<nil>"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        // Literals.
        ("{{\"a\\tb\\\"\\x41\\u00e9\"}} {{`raw\\n`}} {{'A'}}", "a\tb\"A\u{e9} raw\\n 65"),
        ("{{1}} {{-2}} {{0x1F}} {{1_000}} {{1.5e2}} {{true}}", "1 -2 31 1000 150 true"),
        // Pipelines and parentheses.
        ("{{.ID | upper}} {{.Name | printf \"%s-%s\" .ID}}", "ABCDEF abcdef-/web"),
        ("{{(index .Mounts 1).Source}} {{len (slice .ID 1 3)}}", "/b 2"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        // Functions.
        ("{{json .Config.Labels}}", "{\"a.b\":\"x\",\"tier\":\"front\"}"),
        ("{{upper .ID}}{{lower \"ABC\"}} {{title \"two words\"}}", "ABCDEFabc Two Words"),
        ("{{join .Config.Env \", \"}} {{index (split .Name \"/\") 1}}", "A=1, B=2 web"),
        ("{{slice .ID 2}} {{slice .ID 1 3}} {{slice .Config.Env 1}}", "cdef bc [B=2]"),
        ("{{truncate .ID 3}} {{truncate .ID 99}} [{{pad .ID 1 2}}] [{{pad .Empty 3 3}}]", "abc abcdef [ abcdef  ] []"),
        ("{{print 1 2 \"x\" \"y\" 3}} {{println .ID .N}}", "1 2xy3 abcdef 7\n"),
        ("{{len .ID}} {{len .Mounts}} {{len .Config.Labels}} {{len .Config.Cmd}}", "6 2 2 0"),
        ("{{index .Config.Labels \"a.b\"}}{{index .Config.Labels \"none\"}}.{{index .Mixed 1}}", "x.y"),
        ("{{index .Ports \"1/tcp\"}} {{index .ID 0}}", "<no value> 97"),
        // printf.
        (
            "{{printf \"%s %d %v %q %t %%\" .ID .N .Mixed \"a\\\"b\" true}}",
            "abcdef 7 [1 y <nil> true] \"a\\\"b\" true %",
        ),
        (
            "{{printf \"[%-8s|%8s|%.2s|%5d|%-5d|%05d|%+d]\" .ID .ID .ID 42 42 42 42}}",
            "[abcdef  |  abcdef|ab|   42|42   |00042|+42]",
        ),
        ("{{printf \"%x %X %o %b %c %.2f %e\" 255 255 8 5 65 .F .F}}", "ff FF 10 101 A 1.50 1.500000e+00"),
        ("{{printf \"%d %s %d\" .ID 5}}", "%!d(string=abcdef) %!s(int=5) %!d(MISSING)"),
        ("{{printf \"x\" 1}}{{printf \"%\"}}", "x%!(EXTRA int=1)%!(NOVERB)"),
        ("{{printf \"%q %x\" .Config.Env \"hi\"}}", "[\"A=1\" \"B=2\"] 6869"),
        // Comparisons and logic.
        (
            "{{eq .N 7}} {{eq .ID \"x\" \"abcdef\"}} {{ne .ID \"x\"}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true true false",
        ),
        ("{{and .ID .N}} {{and .Empty .N}}. {{or .Empty .N}} {{not .Empty}} {{eq .Null nil}}", "7 . 7 true true"),
        ("{{or .Yes (index .None 9)}} {{and .No (index .None 9)}}", "true false"),
        // Blocks.
        ("{{if .Yes}}a{{end}}{{if .No}}b{{else}}c{{end}}{{if .Empty}}1{{else if eq .N 7}}2{{else}}3{{end}}", "ac2"),
        ("{{range .Mounts}}{{.Source}};{{end}}{{range .None}}x{{else}}none{{end}}", "/a;/b;none"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}}/{{$.ID}} {{end}}", "0=/a/abcdef 1=/b/abcdef "),
        ("{{range $p, $b := .Ports}}{{$p}}:{{range $b}}{{.HostPort}}{{end}} {{end}}", "443/tcp: 80/tcp:8080 "),
        ("{{range $v := .Config.Env}}{{$v}}{{end}} {{range 3}}{{.}}{{end}}", "A=1B=2 012"),
        ("{{range $i, $v := .Config.Env}}{{if $i}}, {{end}}{{$v}}{{end}}", "A=1, B=2"),
        (
            "{{with .State}}{{.Status}}{{end}}{{with .Null}}x{{else}}y{{end}}{{with $x := .N}}{{$x}}{{.}}{{end}}",
            "runningy77",
        ),
        ("{{with .Null}}a{{else with .ID}}{{.}}{{end}}", "abcdef"),
        (
            "{{$x := .N}}{{$y := \"z\"}}{{$x}}{{$y}}{{$x = 8}}{{$x}}{{range .Config.Env}}{{$x = .}}{{end}}{{$x}}",
            "7z8B=2",
        ),
        // Trim markers and comments.
        ("a  {{- .ID -}}  b", "aabcdefb"),
        ("a {{/* nothing */}} b {{- /* trims */ -}} c", "a  bc"),
        ("{{range .Config.Env -}}\n  {{.}}\n{{- end}}", "A=1B=2"),
        ("a\\tb", "a\\tb"),
    ] {
        assert_eq!(plain(template).map_err(|e| e.message).as_deref(), Ok(printed), "{template}");
    }
    assert_eq!(plain("{{json .Mixed}}{{json .Null}}").unwrap(), "[1,\"y\",null,true]null");
    assert!(plain("{{$s := .State}}{{$s.Status}} {{$}}").unwrap().starts_with("running map[Big:12345678901 "));
    assert_eq!(
        plain("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}").unwrap(),
        "B=2"
    );
}

#[test]
fn what_is_no_template_is_refused_when_it_is_read() {
    for (text, says) in [
        ("{{.A", "not closed"),
        ("{{.A}", "means nothing"),
        ("{{}}", "a value is missing"),
        ("{{A}}", "there is no function \"A\""),
        ("{{uper .A}}", "did you mean \"upper\"?"),
        ("{{range .M}}", "{{range}} has no {{end}}"),
        ("{{if .A}}x", "{{if}} has no {{end}}"),
        ("{{if .A}}x{{else}}y", "{{if}} has no {{end}}"),
        ("{{end}}", "no block to end"),
        ("{{else}}", "outside of a block"),
        ("{{break}}", "outside of {{range}}"),
        ("{{if .A}}{{else}}{{else}}{{end}}", "behind {{else}}"),
        ("{{$x}}", "the variable $x is not set"),
        ("{{$x = 1}}", "the variable $x cannot be set"),
        ("{{if $x := .A}}{{end}}{{$x}}", "the variable $x is not set"),
        ("{{$a, $b := .M}}", "too many"),
        ("{{(.A}}", "a \"(\" is not closed"),
        ("{{.A)}}", "a \")\" has no \"(\""),
        ("{{.A | }}", "a value is missing"),
        ("{{.A | 5}}", "behind a \"|\""),
        ("{{1 2}}", "takes no arguments"),
        ("{{.A\"x\"}}", "needs a space"),
        ("{{\"abc}}", "a string is not closed"),
        ("{{\"\\q\"}}", "is not a character"),
        ("{{`abc}}", "is not closed"),
        ("{{12x}}", "is not a number"),
        ("{{.A-b}}", "is not a number"),
        ("{{/* x }}", "comment is not closed"),
        ("{{len}}", "len takes 1 arguments, not 0"),
        ("{{eq .A}}", "eq takes at least 2 arguments, not 1"),
        ("{{.A | upper .B}}", "upper takes 1 arguments, not 2"),
        ("{{define \"x\"}}{{end}}", "is not supported"),
        ("{{.A ! .B}}", "means nothing"),
    ] {
        let error = Format::parse(text).expect_err(text);
        assert!(error.message.contains(says), "{text}: {error}");
        assert_eq!(error.code, 64, "{text}");
        assert_eq!(Format::listing(Some(text)).expect_err(text).code, 1, "{text}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_an_error() {
    for (text, says) in [
        ("{{.Nope}}", "there is no field \"Nope\" (at <.Nope>)"),
        ("{{.State.Nope}}", "there is no field \"Nope\" (at <.State.Nope>)"),
        ("{{.ID.Deeper}}", "there is no field \"Deeper\""),
        ("{{upper .N}}", "upper needs a text, not a number"),
        ("{{index .Mixed 9}}", "index 9 is out of a list of 4"),
        ("{{index .Mixed \"x\"}}", "a text cannot be an index of a list"),
        ("{{index .N 1}}", "a number has no elements"),
        ("{{slice .ID 4 2}}", "is out of 6"),
        ("{{range .ID}}{{end}}", "has no elements"),
        ("{{lt .ID .N}}", "cannot be compared"),
        ("{{eq .Mounts .Mounts}}", "cannot be compared"),
        ("{{join .ID \",\"}}", "join needs a list"),
        ("{{.ID 5}}", "takes no arguments"),
        ("{{truncate .ID -1}}", "not negative"),
        ("{{printf \"%99999d\" 1}}", "10000 is the most"),
        ("{{.Label \"x\"}}", "there is no field \"Label\""),
    ] {
        let error = plain(text).expect_err(text);
        assert!(error.message.contains(says), "{text}: {error}");
        assert_eq!(error.code, 1);
    }
    let format = Format::listing(Some("{{.Nope}}")).unwrap().unwrap();
    let error = format.render(&[json!({"ID": 1, "Names": 2})], str::to_owned).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("there are ID, Names"));
}

#[test]
fn lists_know_escapes_tables_and_labels() {
    let rows = [
        with_labels(json!({"ID": "ab", "N": 1}), &[("com.x.tier".to_owned(), "front, back".to_owned())]),
        with_labels(json!({"ID": "c", "N": 22}), &[]),
    ];
    let list = |text: &str| {
        let header = |field: &str| format!("<{field}>");
        Format::listing(Some(text)).unwrap().unwrap().render(&rows, header).unwrap()
    };
    assert_eq!(list("{{.ID}}\\t{{.N}}"), "ab\t1\nc\t22\n");
    assert_eq!(list("{{\"\\n\"}}").len(), 4);
    assert_eq!(list("json"), "{\"ID\":\"ab\",\"N\":1}\n{\"ID\":\"c\",\"N\":22}\n");
    assert_eq!(list("{{json .}}"), list("json"));
    assert_eq!(list("{{.}}"), "map[ID:ab N:1]\nmap[ID:c N:22]\n");
    assert_eq!(list("{{.Label \"com.x.tier\"}}|"), "front, back|\n|\n");
    assert_eq!(list("table {{.ID}}\\t{{.N}}"), "<ID>      <N>\nab        1\nc         22\n");
    assert_eq!(list("table {{upper .ID}}\\t{{.N | printf \"%03d\"}}").lines().nth(1), Some("AB        001"));
    assert_eq!(list("table {{upper .ID}}\\t{{len .ID}}").lines().next(), Some("<ID>      <ID>"));
    assert_eq!(list("table {{.Label \"com.x.tier\"}}\\t{{.N}}").lines().next(), Some("<tier>        <N>"));
    assert_eq!(list("table {{if .ID}}{{.ID}}{{end}}\\tx").lines().next(), Some("<ID>      x"));
    for usual in [None, Some("table"), Some("")] {
        assert_eq!(Format::listing(usual).unwrap(), None);
    }
}

#[test]
fn depth_length_steps_and_output_are_bounded() {
    let nested = |depth: usize| format!("{}x{}", "{{if .Yes}}".repeat(depth), "{{end}}".repeat(depth));
    assert_eq!(plain(&nested(parse::DEEPEST)).unwrap(), "x");
    assert!(plain(&nested(parse::DEEPEST + 1)).unwrap_err().message.contains("deep"));
    let groups = |depth: usize| format!("{{{{{}1{}}}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(plain(&groups(parse::DEEPEST)).unwrap(), "1");
    assert!(plain(&groups(5000)).unwrap_err().message.contains("deep"));
    assert!(plain(&"x".repeat(parse::LONGEST + 1)).unwrap_err().message.contains("bytes at most"));
    let spins = "{{range 1000}}{{range 1000}}{{range 1000}}{{end}}{{end}}{{end}}";
    assert!(plain(spins).unwrap_err().message.contains("steps"));
    let grows = "{{$x := .ID}}{{range 100}}{{$x = print $x $x}}{{end}}";
    assert!(plain(grows).unwrap_err().message.contains("too long"));
    let prints = "{{$x := printf \"%9999d\" 1}}{{range 9999}}{{$x}}{{end}}";
    assert!(plain(prints).unwrap_err().message.contains("prints more than"));
}

/// Pieces that are likely to make a template when they are put together.
fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        " -}}",
        ".",
        ".ID",
        ".Mounts",
        ".State.Pid",
        ".Config.Labels",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        " ",
        ",",
        "if",
        "else",
        "end",
        "range",
        "with",
        "break",
        "continue",
        "json",
        "index",
        "len",
        "printf",
        "eq",
        "and",
        "slice",
        "\"%d %s\"",
        "\"a\\n\"",
        "1",
        "-1",
        "0x",
        "'c'",
        "`r`",
        "{{end}}",
        "{{else}}",
        "{{if .Yes}}",
        "{{range .Mounts}}",
        "{{.ID}}",
        "é",
        "\n",
        "/*",
        "*/",
        "text",
        "nil",
        "true",
        "{{$x := .N}}",
        "{{$x}}",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_that_is_typed_breaks_it(text in pieces(), any in ".{0,60}") {
        for text in [text, any] {
            drop(plain(&text));
            if let Ok(Some(format)) = Format::listing(Some(&text)) {
                drop(format.render(&[object()], str::to_owned));
            }
        }
    }

    #[test]
    fn text_without_actions_stays(text in "[^{]{0,80}") {
        prop_assert_eq!(parse::parse(&text, false).map(|nodes| eval::render(&nodes, &Value::Null).ok()), Ok(Some(text)));
    }

    #[test]
    fn json_says_what_the_value_is(text in ".{0,20}", number in any::<i64>(), flag in any::<bool>()) {
        let value = json!({"A": {"B": [text, number, flag, null]}});
        let printed = Template(parse::parse("{{json .A}}", false).unwrap()).render(&value).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value["A"].clone());
    }

    #[test]
    fn a_literal_says_what_the_text_is(text in "[ -~\\n\\t]{0,30}") {
        let quoted = printf::printf("%q", &[value::Val::owned(text.clone())]).unwrap();
        let nodes = parse::parse(&format!("{{{{{quoted}}}}}"), false).unwrap();
        prop_assert_eq!(eval::render(&nodes, &Value::Null).unwrap(), text);
    }

    #[test]
    fn numbers_keep_their_order(a in any::<i64>(), b in any::<i64>()) {
        let value = json!({"A": a, "B": b});
        let nodes = parse::parse("{{lt .A .B}} {{eq .A .B}} {{gt .A .B}} {{.A}}", false).unwrap();
        let expected = format!("{} {} {} {a}", a < b, a == b, a > b);
        prop_assert_eq!(eval::render(&nodes, &value).unwrap(), expected);
    }

    #[test]
    fn a_width_is_kept(text in "[a-z]{0,12}", width in 0usize..20) {
        let padded = printf::printf(&format!("%{width}s|%-{width}s"), &[value::Val::owned(text.clone()), value::Val::owned(text.clone())]);
        prop_assert_eq!(padded.unwrap(), format!("{text:>width$}|{text:<width$}"));
    }
}
