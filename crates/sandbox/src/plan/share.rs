//! What cannot go together with namespaces of another sandbox.

use super::PlanError;
use crate::cgroup::CgroupPlan;
use crate::spec::{SandboxSpec, Share};

/// Refuses what would change the other sandbox, or what nobody could end.
pub(super) fn check(spec: &SandboxSpec, share: &Share, cgroup: &CgroupPlan) -> Result<(), PlanError> {
    let with = format!("container:{}", share.with.get(..12).unwrap_or(&share.with));
    if share.pid && spec.process.init {
        return Err(PlanError::invalid(
            "--init",
            with,
            "process 1 is the other container's; leave out --init or --pid",
        ));
    }
    if share.pid && *cgroup == CgroupPlan::None {
        return Err(PlanError::Unsupported {
            what: format!("--pid {with}"),
            reason: "no control group is delegated to this user, and without one nothing could end the processes that \
                     the container leaves among the other's"
                .to_owned(),
        });
    }
    for (name, _) in &spec.sysctls {
        let dotted = name.replace('/', ".");
        let of_uts = dotted == "kernel.domainname";
        let of_ipc = !of_uts && (dotted.starts_with("kernel.") || dotted.starts_with("fs.mqueue."));
        let of_network = dotted.starts_with("net.");
        if (share.uts && of_uts) || (share.ipc && of_ipc) || (share.network && of_network) {
            return Err(PlanError::invalid(
                "--sysctl",
                name.as_str(),
                format!("it belongs to {with}, whose namespace is shared; set it there"),
            ));
        }
    }
    Ok(())
}
