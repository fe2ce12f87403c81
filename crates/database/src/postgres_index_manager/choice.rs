//! Chooses among candidates: from several starts, since one greedy walk is easily trapped, then by exchanging one for
//! another. The planner is asked only for what earlier plans do not tell.

use super::search::Search;
use crate::DatabaseError;
use crate::engine::index_prices::{Set, bit, members};

/// How a greedy walk weighs what an index saves against its bytes.
#[derive(Clone, Copy, Debug)]
enum Weighing {
    Saving,
    PerByte,
    PerRootOfBytes,
}

impl Weighing {
    fn size(self, bytes: u64) -> f64 {
        let bytes = bytes.max(8_192) as f64;
        match self {
            Self::Saving => 1.0,
            Self::PerByte => bytes,
            Self::PerRootOfBytes => bytes.sqrt(),
        }
    }
}

impl Search<'_> {
    /// The best set that was found, within the budget of bytes and plans.
    pub(super) async fn choose(&mut self) -> Result<Set, DatabaseError> {
        let everything = self.all();
        let mut starts = Vec::new();
        // The plan under all candidates is the lower bound of all others.
        if self.total(everything, f64::INFINITY).await?.is_some() {
            starts.push(self.thinned(everything).await?);
        }
        for weighing in [Weighing::PerByte, Weighing::PerRootOfBytes, Weighing::Saving] {
            starts.push(self.grown(0, weighing).await?);
        }
        let mut best: (f64, Set) = (self.total(0, f64::INFINITY).await?.unwrap_or(f64::INFINITY), 0);
        starts.dedup();
        for start in starts {
            let improved = self.exchanged(start).await?;
            if let Some(total) = self.total(improved, best.0).await?
                && total < best.0
            {
                best = (total, improved);
            }
        }
        Ok(best.1)
    }

    /// Adds what is worth most, again and again, while it fits.
    async fn grown(&mut self, from: Set, weighing: Weighing) -> Result<Set, DatabaseError> {
        let mut set = from;
        let Some(mut total) = self.total(set, f64::INFINITY).await? else { return Ok(set) };
        loop {
            let mut best: Option<(f64, f64, Set)> = None;
            for candidate in members(self.all() & !set) {
                let size = weighing.size(self.bytes(bit(candidate)));
                if self.bytes(set | bit(candidate)) > self.budget {
                    continue;
                }
                // What cannot beat the best so far is not planned.
                let cutoff = best.map_or(total, |(worth, _, _)| total - worth * size);
                if let Some(with) = self.total(set | bit(candidate), cutoff).await? {
                    let worth = (total - with) / size;
                    if worth > best.map_or(0.0, |(worth, _, _)| worth) {
                        best = Some((worth, with, bit(candidate)));
                    }
                }
            }
            let Some((_, with, candidate)) = best else { return Ok(set) };
            set |= candidate;
            total = with;
        }
    }

    /// Takes away what is missed least for its bytes, until the rest fits.
    async fn thinned(&mut self, from: Set) -> Result<Set, DatabaseError> {
        let mut set = from;
        loop {
            let fits = self.bytes(set) <= self.budget;
            let Some(now) = self.total(set, f64::INFINITY).await? else { return Ok(0) };
            let mut least: Option<(f64, Set)> = None;
            for member in members(set) {
                let size = Weighing::PerByte.size(self.bytes(bit(member)));
                let rest = set & !bit(member);
                let cutoff = least.map_or(f64::INFINITY, |(loss, _)| now + loss * size);
                let Some(without) = self.total(rest, cutoff).await? else { continue };
                let loss = (without - now) / size;
                if least.is_none_or(|(known, _)| loss < known) {
                    least = Some((loss, rest));
                }
                if loss <= 0.0 {
                    break;
                }
            }
            match least {
                // Within the budget only what nobody misses goes.
                Some((loss, rest)) if !fits || loss <= 0.0 => set = rest,
                _ if fits => return Ok(set),
                _ => return Ok(0),
            }
        }
    }

    /// Forces one in, takes others out until it fits, fills up again; keeps what is better.
    async fn exchanged(&mut self, from: Set) -> Result<Set, DatabaseError> {
        let mut set = from;
        let Some(mut total) = self.total(set, f64::INFINITY).await? else { return Ok(set) };
        loop {
            let before = total;
            for candidate in members(self.all() & !set) {
                if self.bytes(bit(candidate)) > self.budget {
                    continue;
                }
                let mut with = set | bit(candidate);
                while self.bytes(with) > self.budget {
                    with = self.without_the_least(with, candidate);
                }
                let Some(new) = self.total(with, total).await? else { continue };
                if new < total {
                    (set, total) = (with, new);
                }
            }
            let filled = self.grown(set, Weighing::PerRootOfBytes).await?;
            if filled != set
                && let Some(new) = self.total(filled, f64::INFINITY).await?
            {
                (set, total) = (filled, new);
            }
            if total >= before {
                return Ok(set);
            }
        }
    }

    /// Without the member, other than one, that seems to be missed least for its bytes, by what is known already.
    fn without_the_least(&self, set: Set, but: usize) -> Set {
        let now = self.least(set);
        let loss =
            |member: usize| (self.most(set & !bit(member)) - now) / self.bytes(bit(member)).max(8_192) as f64;
        let least = members(set).filter(|&it| it != but).min_by(|&a, &b| loss(a).total_cmp(&loss(b)));
        least.map_or(0, |member| set & !bit(member))
    }
}
