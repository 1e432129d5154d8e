//! What prefixes mean address by address: where in a row of addresses which class begins.

/// From here on, up to the next run, all addresses have this class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) class: u16,
}

/// Runs as they are put together; the first one begins at 0.
pub(super) struct Runs(Vec<Run>);

impl Runs {
    /// Those of ranges, from a first address to a last one, that are sorted by their first and of which one may hold
    /// another, which then counts; elsewhere is `class`.
    pub(super) fn of(ranges: impl IntoIterator<Item = ([u32; 2], u16)>, class: u16) -> Vec<Run> {
        let mut runs = Self(vec![Run { first: 0, class }]);
        let mut open: Vec<(u32, u16)> = Vec::new();
        for ([first, last], inner) in ranges {
            runs.close(&mut open, Some(first), class);
            runs.begin(first, inner);
            open.push((last, inner));
        }
        runs.close(&mut open, None, class);
        runs.0
    }

    /// Ends the ranges that end before `first`, or all: behind each, the one around it holds again, or `class`.
    fn close(&mut self, open: &mut Vec<(u32, u16)>, first: Option<u32>, class: u16) {
        while let Some((last, _)) = open.pop_if(|(last, _)| first.is_none_or(|first| *last < first)) {
            let around = open.last().map_or(class, |(_, class)| *class);
            if let Some(next) = last.checked_add(1) {
                self.begin(next, around);
            }
        }
    }

    fn begin(&mut self, first: u32, class: u16) {
        self.0.pop_if(|run| run.first == first);
        if self.0.last().is_none_or(|run| run.class != class) {
            self.0.push(Run { first, class });
        }
    }
}
