//! `detach`: remove program, links and pins; with a daemon through it, without one by itself.

use super::{Global, Usage, output};
use crate::{
    control::{
        Request,
        client::{CallError, call},
    },
    datapath::Pins,
};

/// Options of `detach`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this interface; without it all of them, and a running daemon ends.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
}

pub(super) fn run(global: &Global, Arguments { interface }: Arguments) -> anyhow::Result<()> {
    let detached: Vec<String> = match call(&global.socket, &Request::Detach { interface: interface.clone() })
    {
        Err(CallError::NoDaemon { .. }) => without_daemon(global, interface)?,
        answer => answer?,
    };
    if global.json {
        return output::json(&detached);
    }
    if detached.is_empty() {
        return output::print("nothing was attached");
    }
    output::print(&format!("detached from {}", detached.join(", ")))
}

fn without_daemon(global: &Global, interface: Option<String>) -> anyhow::Result<Vec<String>> {
    if !global.pins.exists() {
        return Ok(Vec::new());
    }
    let pins = Pins::open(&global.pins)?;
    let attached = pins.links();
    match interface {
        Some(name) if !attached.contains(&name) => {
            let attached = attached.join(", ");
            Err(Usage(format!("interface {name} is not attached; attached: {attached}")).into())
        }
        Some(name) => {
            pins.remove_link(&name)?;
            Ok(vec![name])
        }
        None => {
            pins.remove_all()?;
            Ok(attached)
        }
    }
}
