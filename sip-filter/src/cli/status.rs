//! `status`: what is in force and what it did.

use sip_filter_common::Reason;

use super::{Global, output};
use crate::{
    control::{EventsStatus, LinkStatus, Request, Status, VlanTags, client::call},
    interfaces::Attached,
};

pub(super) fn run(global: &Global) -> anyhow::Result<()> {
    let status: Status = call(&global.socket, &Request::Status)?;
    if global.json {
        return output::json(&status);
    }
    let unsaved = match status.unsaved_changes {
        0 => String::new(),
        count => format!(", {count} unsaved changes"),
    };
    output::print(&format!("mode {}, generation {}{unsaved}", status.mode, status.generation))?;
    output::print(&format!("policy {}", status.config.display()))?;
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let memory = &status.memory_bytes;
    output::print(&format!(
        "memory {} kernel, {} daemon",
        mebibytes(memory.kernel),
        mebibytes(memory.daemon)
    ))?;
    let mut interfaces = output::table(&["interface", "attached", "program", "VLAN tags"]);
    for interface in &status.interfaces {
        let attached = match interface.attached {
            Some(Attached::Native) => "native",
            Some(Attached::Generic) => "generic",
            Some(Attached::Offloaded) => "offloaded",
            Some(Attached::Other) => "other",
            None => "NOT ATTACHED",
        };
        let tags = match interface.vlan_tags {
            VlanTags::Visible => "visible",
            VlanTags::Stripped => "stripped (rx-vlan-offload)",
        };
        let program = interface.program_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        interfaces.add_row([interface.name.as_str(), attached, &program, tags]);
    }
    output::print(&interfaces.to_string())?;
    if !status.links.is_empty() {
        output::print(&links(&status.links))?;
    }
    if status.events.lost > 0 {
        let EventsStatus { read, lost, lost_registrations } = status.events;
        output::print(&format!(
            "warning: {lost} SIP messages were lost on their way to the daemon, {lost_registrations} of which may have said \
             that somebody is registered; {read} were read"
        ))?;
    }
    let mut counters = output::table(&["reason", "verdict", "packets", "bytes"]);
    for reason in Reason::ALL {
        let Some(counter) = status.counters.get(reason.name()).filter(|counter| counter.packets > 0) else {
            continue;
        };
        counters.add_row([
            reason.name().into(),
            output::verdict(&counter.verdict),
            output::number(counter.packets),
            output::number(counter.bytes),
        ]);
    }
    output::print(&counters.to_string())?;
    status.warnings.iter().try_for_each(|warning| output::print(&format!("warning: {warning}")))
}

fn links(links: &[LinkStatus]) -> String {
    let mut table = output::table(&["pbx", "link", "events", "last error"]);
    for link in links {
        let state = match link.up_for_ms {
            Some(ms) => format!("up for {}", output::duration(ms)),
            None => "DOWN".to_owned(),
        };
        let error = link.last_error.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([link.name.as_str().into(), state.into(), output::number(link.events), error.into()]);
    }
    table.to_string()
}
