//! Placeholder until replay is there.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(_arguments: &Arguments, _json: bool) -> anyhow::Result<()> {
    Ok(())
}
