//! What the TOML reader itself finds wrong, in our words.

use toml::de::Error;

use crate::policy::mistake::Report;
use crate::policy::{secrecy, suggestion};

/// Notes an error in the syntax, a key or a type.
pub(super) fn report(error: &Error, text: &str, report: &mut Report) {
    let span = error.span().unwrap_or(0..0);
    let without_value = secrecy::without_value(error.message(), &span, text);
    let said = without_value.as_deref().unwrap_or(error.message());
    // serde's wording is stable for these; anything else is passed on as it is.
    if let Some(rest) = said.strip_prefix("unknown field `") {
        let key = rest.split('`').next().unwrap_or_default();
        let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        let remedy = match suggestion::closest(key, known.iter().copied()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("known keys here: {}", known.join(", ")),
        };
        report.mistake(span, format!("unknown key \"{key}\""), remedy);
    } else if let Some(rest) = said.strip_prefix("missing field `") {
        let key = rest.trim_end_matches('`');
        report.mistake(span, format!("the key \"{key}\" is missing"), format!("add it here: {key} = …"));
    } else if said.starts_with("invalid type") && said.contains("expected a sequence") {
        let offending = text.get(span.clone()).unwrap_or_default();
        let one_line = !offending.is_empty() && !offending.contains('\n') && !offending.starts_with('[');
        let hides = !secrecy::secrets(offending).is_empty() || without_value.is_some();
        let shown = if hides { "…" } else { offending };
        let remedy = one_line.then(|| format!("write a list: [{shown}]"));
        report.mistake(span, said.replace("a sequence", "a list"), remedy);
    } else {
        report.mistake(span, said.trim_end().replace('\n', ", "), None);
    }
}
