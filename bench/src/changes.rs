//! What it takes to change what is in force: the whole policy, one address, one ban; and what memory it holds.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    costs::FILTER,
    filter::Running,
    plan::Plan,
    results::{Change, median},
};

/// How often a single change is repeated.
const TIMES: u8 = 9;
/// Addresses that are added and banned, from RFC 5737: in no plan.
const ADDED: [u8; 3] = [192, 0, 2];
const BANNED: [u8; 3] = [203, 0, 113];
/// What the file gains between two applies.
const EXTRA: &str = "198.51.100.7/32";

/// Of this filter, on the plan that it was started with.
pub fn of_filter(filter: &Running, plan: &Plan) -> Result<Change> {
    let mut prefixes = plan.prefixes.clone();
    prefixes.push(EXTRA.to_owned());
    let (answer, whole) = filter.apply(&prefixes)?;
    let timing = &answer["timing_us"];
    let of_daemon: Option<f64> =
        ["read", "compile", "kernel"].into_iter().map(|part| timing[part].as_f64()).sum();
    // At rest: each single change has the tables compiled anew before long, which takes memory for a moment.
    let memory_bytes = memory_bytes(filter)?;
    let adds = (1..=TIMES).map(|host| filter.allow(address(ADDED, host)));
    let bans = (1..=TIMES).map(|host| filter.ban(address(BANNED, host)));
    Ok(Change {
        subject: FILTER.to_owned(),
        size: plan.prefixes.len(),
        load_ms: Some(filter.start_took().as_secs_f64() * 1e3),
        apply_ms: Some(whole.as_secs_f64() * 1e3),
        daemon_ms: of_daemon.map(|us| us / 1e3),
        kernel_ms: timing["kernel"].as_f64().map(|us| us / 1e3),
        add_ms: Some(middle(adds)?),
        ban_ms: Some(middle(bans)?),
        memory_mib: Some(memory_bytes / f64::from(1 << 20)),
    })
}

/// The median in milliseconds; the daemon's own figure where it gives one, else the round trip.
fn middle(changes: impl Iterator<Item = Result<(Value, std::time::Duration)>>) -> Result<f64> {
    let of = |change: Result<(Value, std::time::Duration)>| {
        let (answer, round_trip) = change?;
        Ok(answer["in_force_us"].as_f64().map_or(round_trip.as_secs_f64() * 1e3, |us| us / 1e3))
    };
    Ok(median(changes.map(of).collect::<Result<_>>()?))
}

fn address(network: [u8; 3], host: u8) -> std::net::IpAddr {
    Ipv4Addr::new(network[0], network[1], network[2], host).into()
}

/// What the daemon says of kernel and itself.
fn memory_bytes(filter: &Running) -> Result<f64> {
    let memory = &filter.status()?["memory_bytes"];
    let part = |name| memory[name].as_f64().with_context(|| format!("status tells no memory of {name}"));
    Ok(part("kernel")? + part("daemon")?)
}
