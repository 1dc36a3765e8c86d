//! Prints size and compile time of the shipped profiles: `cargo run --release --example measure`.

use bulkhead_seccomp::{Arch, Context, Profile, SyscallData, compile, defaults, explain, vm};
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut profiles = vec![
        ("default".to_owned(), defaults::default_profile()),
        ("strict".to_owned(), defaults::strict_profile()),
        ("compat".to_owned(), defaults::compat_profile()),
    ];
    for path in std::env::args().skip(1) {
        let profile = Profile::from_json(&std::fs::read_to_string(&path)?)?;
        profiles.push((path, profile));
    }
    for (name, profile) in &profiles {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            measure(name, profile, arch)?;
        }
    }
    Ok(())
}

fn measure(name: &str, profile: &Profile, arch: Arch) -> Result<(), Box<dyn Error>> {
    let context = Context { arch, caps: 0, kernel: (6, 18) };
    let (filter, resolve_time) = fastest(|| profile.resolve(&context));
    let filter = filter?;
    let (program, compile_time) = fastest(|| compile(&filter));
    let program = program?;
    let counts = explain::counts(&filter, arch);
    let mut steps = 0;
    let mut longest = 0;
    for number in 0..500 {
        let data = SyscallData::new(arch, number, [0; 6]);
        let run = vm::run(&program, &data).ok_or("program left the rails")?;
        steps += run.steps;
        longest = longest.max(run.steps);
    }
    writeln!(
        std::io::stdout(),
        "{name} {arch}: {} allowed + {} by argument, {} refused; {} instructions; \
         path mean {}.{} longest {longest}; resolve {resolve_time:?}, compile {compile_time:?}",
        counts.allowed,
        counts.conditional,
        counts.refused,
        program.insns().len(),
        steps / 500,
        steps % 500 / 50,
    )?;
    Ok(())
}

/// The fastest of many rounds; the machine is shared.
fn fastest<T>(work: impl Fn() -> T) -> (T, Duration) {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(work());
        best = best.min(start.elapsed());
    }
    (work(), best)
}
