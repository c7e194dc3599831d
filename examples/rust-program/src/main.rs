//! Adds up sales by region: reads a JSON list, prints one line per region.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Deserialize;

#[derive(Deserialize)]
struct Sale {
    region: String,
    amount: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: tally FILE.json")?;
    let sales: Vec<Sale> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    for (region, total) in totals(sales) {
        println!("{region}: {total}");
    }
    Ok(())
}

fn totals(sales: Vec<Sale>) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for sale in sales {
        *totals.entry(sale.region).or_default() += sale.amount;
    }
    totals
}
