//! The compiled program says what the reference matcher says, for any filter and any call.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure is the result of the test")]

use bulkhead_seccomp::{
    Action, Arch, ArchFilter, CallRules, CompileError, Condition, Filter, Insn, Op, Program, Rule, SyscallData, Width,
    X32_BIT, compile, matcher, vm,
};
use proptest::prelude::*;

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Allow),
        3 => prop_oneof![Just(1), Just(38), Just(97), 0_u16..4096].prop_map(Action::Errno),
        1 => Just(Action::KillProcess),
        1 => Just(Action::KillThread),
        1 => Just(Action::Trap),
        1 => Just(Action::Log),
        1 => Just(Action::Notify),
        1 => (0_u16..3).prop_map(Action::Trace),
    ]
}

/// Values at which comparisons change, in both halves of the register.
fn value() -> impl Strategy<Value = u64> {
    let half = || {
        prop_oneof![
            4 => 0_u64..4,
            1 => Just(0x7fff_ffff),
            1 => Just(0x8000_0000),
            2 => Just(0xffff_ffff),
            1 => Just(0xffff_fffe),
            1 => (0_u32..32).prop_map(|bit| 1 << bit),
            1 => 0_u64..=0xffff_ffff,
        ]
    };
    prop_oneof![
        3 => half(),
        3 => (half(), half()).prop_map(|(high, low)| high << 32 | low),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let op = prop_oneof![
        Just(Op::Ne),
        Just(Op::Lt),
        Just(Op::Le),
        Just(Op::Eq),
        Just(Op::Ge),
        Just(Op::Gt),
        Just(Op::MaskedEq),
    ];
    let width = prop_oneof![Just(Width::W32), Just(Width::W64)];
    (0_u8..3, width, op, value(), value(), any::<bool>()).prop_map(|(arg, width, op, value, other, reachable)| {
        Condition { arg, width, op, value, value_two: if reachable { other & value } else { other } }
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (action(), prop::collection::vec(condition(), 0..4))
        .prop_map(|(action, conditions)| Rule { action, conditions });
    prop_oneof![
        3 => action().prop_map(|action| vec![Rule { action, conditions: vec![] }]),
        1 => prop::collection::vec(rule, 0..6),
    ]
}

fn part(arch: Arch) -> impl Strategy<Value = ArchFilter> {
    let number = prop_oneof![30 => 0_u32..60, 1 => Just(X32_BIT - 1), 1 => Just(u32::MAX), 2 => 0_u32..2000];
    let above = prop_oneof![Just(None), (0_u32..80).prop_map(Some), Just(Some(u32::MAX - 1))];
    (prop::collection::vec((number, rules()), 0..40), above).prop_map(move |(calls, above)| {
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        let calls =
            calls.into_iter().map(|(number, rules)| CallRules { number: number | bit, rules: rules.into() }).collect();
        ArchFilter::new(arch, calls, above.map(|above| above | bit))
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let arches = prop::sample::subsequence(Arch::ALL.to_vec(), 1..=5).prop_shuffle();
    let parts = arches.prop_flat_map(|arches| arches.into_iter().map(part).collect::<Vec<_>>());
    (action(), parts).prop_map(|(default, parts)| Filter::new(default, parts))
}

/// A number, with a register value near a condition of that number where there is one.
fn data() -> impl Strategy<Value = (SyscallData, usize, [i8; 3])> {
    let nr = prop_oneof![
        8 => 0_u32..62,
        2 => (0_u32..62).prop_map(|number| number | X32_BIT),
        1 => Just(u32::MAX),
        1 => Just(X32_BIT - 1),
        1 => any::<u32>(),
    ];
    let arch = prop_oneof![
        9 => prop::sample::select(Arch::ALL.to_vec()).prop_map(Arch::audit),
        1 => any::<u32>(),
    ];
    let arguments = (value(), value(), value());
    (nr, arch, arguments, any::<usize>(), any::<[i8; 3]>()).prop_map(|(nr, arch, (a, b, c), pick, near)| {
        let args = [a, b, c, 0, 0, 0];
        (SyscallData { nr, arch, instruction_pointer: 0, args }, pick, near)
    })
}

/// Moves the arguments close to the values one of the rules of the call compares with.
fn aim(filter: &Filter, mut data: SyscallData, pick: usize, near: [i8; 3]) -> SyscallData {
    let calls = filter.arches().iter().flat_map(|part| {
        let audit = part.arch().audit();
        part.calls().iter().map(move |call| (audit, call))
    });
    let rules: Vec<_> = calls
        .flat_map(|(audit, call)| call.rules.iter().map(move |rule| (audit, call.number, rule)))
        .filter(|(.., rule)| !rule.conditions.is_empty())
        .collect();
    if let Some((audit, number, rule)) = rules.get(pick % (rules.len() + 1)) {
        data.arch = *audit;
        data.nr = *number;
        for condition in &rule.conditions {
            let value = if condition.op == Op::MaskedEq { condition.value_two } else { condition.value };
            let index = usize::from(condition.arg);
            let offset = match near[index] {
                -128..=-60 => u64::MAX,
                60..=90 => 1,
                91..=127 => 1 << 32,
                _ => 0,
            };
            data.args[index] = value.wrapping_add(offset);
        }
    }
    data
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn program_and_matcher_agree(filter in filter(), calls in prop::collection::vec(data(), 60)) {
        let program = compile(&filter).unwrap();
        kernel_accepts(program.insns());
        for (data, pick, near) in calls {
            for data in [data, aim(&filter, data, pick, near)] {
                let run = vm::run(&program, &data).unwrap();
                prop_assert_eq!(run.action, matcher::verdict(&filter, &data), "{:?}", data);
            }
        }
    }
}

/// The checks of `bpf_check_classic` and `seccomp_check_filter`, written again.
fn kernel_accepts(insns: &[Insn]) {
    assert!((1..=4096).contains(&insns.len()));
    for (at, insn) in insns.iter().enumerate() {
        match insn.code {
            0x20 => assert!(insn.k % 4 == 0 && insn.k < 64, "load at {at}"),
            0x54 | 0x06 => {}
            0x05 => {
                let far = usize::try_from(insn.k).unwrap();
                assert!(at + 1 + far < insns.len(), "jump at {at}");
            }
            0x15 | 0x25 | 0x35 | 0x45 => {
                let far = usize::from(insn.jt.max(insn.jf));
                assert!(at + 1 + far < insns.len(), "jump at {at}");
            }
            code => panic!("operation {code:#x} at {at}"),
        }
    }
    assert_eq!(insns.last().map(|insn| insn.code), Some(0x06));
}

fn equal(arg: u8, value: u64, action: Action) -> Rule {
    let condition = Condition { arg, width: Width::W64, op: Op::Eq, value, value_two: 0 };
    Rule { action, conditions: vec![condition] }
}

/// Every even number has a block of its own, so that far jumps are needed all over the tree.
fn wide_filter(calls: u32, rules: u64) -> Filter {
    let call = |number: u32| CallRules {
        number: number * 2,
        rules: (0..rules).map(|value| equal(1, value + u64::from(number), Action::Allow)).collect(),
    };
    Filter::new(Action::EPERM, vec![ArchFilter::new(Arch::X86_64, (0..calls).map(call).collect(), None)])
}

#[test]
fn jumps_longer_than_255_reach_their_target() {
    let filter = wide_filter(105, 8);
    let program = compile(&filter).unwrap();
    assert!(program.insns().len() > 1000, "{}", program.insns().len());
    assert!(program.insns().iter().any(|insn| insn.code == 0x05), "needs long jumps");
    kernel_accepts(program.insns());
    for number in 0..215 {
        for value in (0..120).chain([1 << 32]) {
            let data = SyscallData::new(Arch::X86_64, number, [0, value, 0, 0, 0, 0]);
            let run = vm::run(&program, &data).unwrap();
            assert_eq!(run.action, matcher::verdict(&filter, &data), "{number} {value}");
        }
    }
}

#[test]
fn one_very_long_rule_list() {
    let filter = wide_filter(1, 1000);
    let program = compile(&filter).unwrap();
    for value in [0, 1, 254, 255, 256, 999, 1000] {
        let data = SyscallData::new(Arch::X86_64, 0, [0, value, 0, 0, 0, 0]);
        let run = vm::run(&program, &data).unwrap();
        assert_eq!(run.action, matcher::verdict(&filter, &data), "{value}");
    }
}

#[test]
fn too_long_is_an_error() {
    assert_eq!(compile(&wide_filter(600, 10)), Err(CompileError::TooLong));
}

#[test]
fn a_sixth_argument_does_not_exist() {
    let call = CallRules { number: 1, rules: vec![equal(6, 1, Action::Allow)].into() };
    let filter = Filter::new(Action::EPERM, vec![ArchFilter::new(Arch::X86_64, vec![call], None)]);
    assert_eq!(compile(&filter), Err(CompileError::Argument(6)));
}

#[test]
fn a_filter_without_abis_kills() {
    let program = compile(&Filter::new(Action::Allow, vec![])).unwrap();
    let run = vm::run(&program, &SyscallData::new(Arch::X86_64, 0, [0; 6])).unwrap();
    assert_eq!(run.action, Action::KillProcess);
    assert_eq!(Program::from_insns(program.insns().to_vec()), Ok(program));
}

#[test]
fn equal_rules_are_written_once() {
    let call = |number| CallRules { number, rules: vec![equal(0, 5, Action::Allow)].into() };
    let length = |calls: Vec<CallRules>| {
        let part = ArchFilter::new(Arch::X86_64, calls, None);
        compile(&Filter::new(Action::EPERM, vec![part])).unwrap().insns().len()
    };
    assert!(length(vec![call(3), call(30)]) <= length(vec![call(3)]) + 2);
}
