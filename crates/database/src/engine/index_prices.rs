//! What a statement would cost under sets of indexes, told from as few plans as possible. It asks nobody.
//!
//! A plan that was made while the indexes Y were there, and that used U of them, is the plan under every set between:
//! whoever has all of U and nothing beyond Y pays the same. For other sets two plans bound the cost: what needs only
//! indexes that are there can be had, and more indexes are never worse. (Schnaitter, Polyzotis and Getoor, "Index
//! interactions in physical design tuning", PVLDB 2009, have such a graph.)

/// A set of candidates, a bit each.
pub(crate) type Set = u128;

/// As many candidates as a set can hold.
pub(crate) const MOST_CANDIDATES: usize = 128;

/// The candidate of a number.
pub(crate) const fn bit(number: usize) -> Set {
    1 << number
}

/// The numbers in a set.
pub(crate) fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..MOST_CANDIDATES).filter(move |&number| set & bit(number) != 0)
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    under: Set,
    used: Set,
    cost: f64,
}

/// What is known of one statement.
#[derive(Clone, Debug)]
pub(crate) struct Prices {
    relevant: Set,
    plans: Vec<Planned>,
}

impl Prices {
    /// The statement's cost as things are, and the candidates that are of its tables.
    pub(crate) fn new(relevant: Set, cost: f64) -> Self {
        Self { relevant, plans: vec![Planned { under: 0, used: 0, cost }] }
    }

    /// The part of a set that can matter to the statement.
    pub(crate) fn relevant(&self, set: Set) -> Set {
        set & self.relevant
    }

    /// Adds a plan. Candidates that are not of its tables are taken to have been there.
    pub(crate) fn learn(&mut self, under: Set, used: Set, cost: f64) {
        self.plans.push(Planned { under: under & self.relevant, used: used & self.relevant, cost });
    }

    /// The cost under a set, if a plan tells it.
    pub(crate) fn known(&self, set: Set) -> Option<f64> {
        let set = self.relevant(set);
        let tells = |plan: &&Planned| plan.used & !set == 0 && set & !plan.under == 0;
        self.plans.iter().find(tells).map(|plan| plan.cost)
    }

    /// The least that the statement can cost under a set.
    pub(crate) fn least(&self, set: Set) -> f64 {
        let set = self.relevant(set);
        let larger = self.plans.iter().filter(|plan| set & !plan.under == 0);
        larger.map(|plan| plan.cost).fold(0.0, f64::max).min(self.most(set))
    }

    /// The most that it can cost.
    pub(crate) fn most(&self, set: Set) -> f64 {
        let set = self.relevant(set);
        let possible = self.plans.iter().filter(|plan| plan.used & !set == 0);
        possible.map(|plan| plan.cost).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_prices_every_set_between_what_it_used_and_what_was_there() {
        let mut prices = Prices::new(0b0_1111, 100.0);
        prices.learn(0b1111, 0b0010, 10.0);
        assert_eq!(prices.known(0), Some(100.0));
        assert_eq!(prices.known(0b0110), Some(10.0));
        assert_eq!(prices.known(0b1_0010), Some(10.0), "a candidate of another table changes nothing");
        assert_eq!(prices.known(0b0100), None);
        assert_eq!((prices.least(0b0100), prices.most(0b0100)), (10.0, 100.0));
        prices.learn(0b0101, 0b0100, 40.0);
        assert_eq!(prices.known(0b0100), Some(40.0));
        assert_eq!((prices.least(0b1000), prices.most(0b1100)), (10.0, 40.0));
    }

    #[test]
    fn members_are_the_bits() {
        assert_eq!(members(bit(0) | bit(5) | bit(127)).collect::<Vec<_>>(), [0, 5, 127]);
    }
}
