//! Numbers, times and rates as the file writes them.
//!
//! Says what a quantity means and that it is none; which one is too small for its key is said by the key.

use std::time::Duration;

use toml::Spanned;

use crate::policy::Rate;
use crate::policy::mistake::Report;

/// A number of at least 1; the mistake is noted otherwise.
pub(super) fn count(key: &str, given: &Spanned<i64>, report: &mut Report) -> Option<u32> {
    let count = u32::try_from(*given.get_ref()).ok().filter(|count| *count > 0);
    if count.is_none() {
        let message = format!("{key} cannot be {}", given.get_ref());
        report.mistake(given.span(), message, format!("write a number from 1 to {}", u32::MAX));
    }
    count
}

/// A time such as "90s" or "1h 30m"; the mistake is noted otherwise.
pub(super) fn time(key: &str, given: &Spanned<String>, report: &mut Report) -> Option<Duration> {
    let time = humantime::parse_duration(given.get_ref()).ok();
    if time.is_none() {
        let message = format!("{key} cannot be \"{}\"", given.get_ref());
        report.mistake(given.span(), message, "write a time such as \"90s\", \"10m\" or \"1h\"".to_owned());
    }
    time
}

/// A time longer than 0; the mistake is noted otherwise.
pub(super) fn time_above_zero(key: &str, given: &Spanned<String>, report: &mut Report) -> Option<Duration> {
    let time = time(key, given, report)?;
    if time.is_zero() {
        let message = format!("{key} cannot be \"{}\", which is no time at all", given.get_ref());
        report.mistake(given.span(), message, "write a time such as \"90s\", \"10m\" or \"1h\"".to_owned());
        return None;
    }
    Some(time)
}

/// So many in so long, such as "5/s", "300/m" or "100/10s"; the mistake is noted otherwise.
pub(super) fn rate(key: &str, given: &Spanned<String>, report: &mut Report) -> Option<Rate> {
    let rate = parse_rate(given.get_ref());
    if rate.is_none() {
        let message = format!("{key} cannot be \"{}\"", given.get_ref());
        let remedy = "write how many in how long, at least 1: \"5/s\", \"300/m\" or \"100/10s\"".to_owned();
        report.mistake(given.span(), message, remedy);
    }
    rate
}

fn parse_rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    // Digits only: the parser of numbers takes a sign as well.
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse().ok().filter(|count| is_number && *count > 0)?;
    let is_unit = per.starts_with(|letter: char| letter.is_ascii_alphabetic());
    let per = if is_unit { format!("1{per}") } else { per.to_owned() };
    let per = humantime::parse_duration(&per).ok().filter(|per| !per.is_zero())?;
    Some(Rate { count, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_compared_by_what_they_let_through() {
        let rate = |text| parse_rate(text).unwrap();
        assert!(rate("5/s").is_below(&rate("301/m")) && rate("299/m").is_below(&rate("5/s")));
        assert!(!rate("5/s").is_below(&rate("300/m")) && !rate("300/m").is_below(&rate("5/s")));
    }

    #[test]
    fn a_rate_is_so_many_in_so_long() {
        let check = |text: &str, expected: Option<(u32, u64)>| {
            let expected = expected.map(|(count, seconds)| Rate { count, per: Duration::from_secs(seconds) });
            assert_eq!(parse_rate(text), expected, "{text}");
            if let Some(rate) = expected {
                assert_eq!(rate.to_string(), text);
            }
        };
        check("5/s", Some((5, 1)));
        check("300/m", Some((300, 60)));
        check("1/h", Some((1, 3_600)));
        check("100/10s", Some((100, 10)));
        check("7/1m 30s", Some((7, 90)));
        check("4294967295/s", Some((u32::MAX, 1)));
        for wrong in [
            "",
            "5",
            "/s",
            "5/",
            "0/s",
            "+5/s",
            "-5/s",
            "5/0s",
            "5/x",
            "5 /s",
            "5.5/s",
            "4294967296/s",
            "5/s/s",
        ] {
            check(wrong, None);
        }
    }
}
