//! What a project can have, and what it costs there.

use super::{
    client::Client,
    error::HetznerError,
    resources::Bound,
    wire::{Image, Location, Pricing, ServerType},
};
use ostler_core::{
    model::Price,
    spec::{HetznerAddress, HetznerOptions, HetznerVolume},
};
use serde::Deserialize;

/// Everything that a project can choose from.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub types: Vec<ServerType>,
    pub locations: Vec<Location>,
    pub pricing: Pricing,
}

/// A server type in a location: one choice of those that a spec allows.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub server_type: &'a ServerType,
    pub location: &'a Location,
}

impl Catalog {
    pub async fn read(client: &Client) -> Result<Self, HetznerError> {
        #[derive(Deserialize)]
        struct Answer {
            pricing: Pricing,
        }
        let (types, locations, pricing) = tokio::try_join!(
            client.list("/server_types", &[]),
            client.list("/locations", &[]),
            client.get("/pricing")
        )?;
        let Answer { pricing } = pricing;
        Ok(Self { types, locations, pricing })
    }

    pub fn server_type(&self, name: &str) -> Option<&ServerType> {
        self.types.iter().find(|server_type| server_type.name == name)
    }

    pub fn location(&self, name: &str) -> Option<&Location> {
        self.locations.iter().find(|location| location.name == name)
    }

    /// What of the spec can be ordered, in its order: the first type wherever it is, then the second. Whether it is in stock only an order
    /// tells.
    pub fn candidates(&self, options: &HetznerOptions, bound: &[Bound]) -> Vec<Candidate<'_>> {
        let types = options.types.iter().filter_map(|name| self.server_type(name));
        let all = types.flat_map(|server_type| {
            let locations = options.locations.iter().filter_map(|name| self.location(name));
            locations.map(move |location| Candidate { server_type, location })
        });
        all.filter(|candidate| candidate.is_offered())
            .filter(|candidate| bound.iter().all(|it| it.location == candidate.location.name))
            .collect()
    }

    /// What a server costs a month with all that the spec asks for.
    pub fn price(&self, candidate: &Candidate<'_>, options: &HetznerOptions) -> Price {
        let mut parts = vec![self.server(&candidate.server_type.name, &candidate.location.name)];
        if options.backups {
            parts.push(self.backups(&candidate.server_type.name, &candidate.location.name));
        }
        for (kind, address) in [("ipv4", &options.ipv4), ("ipv6", &options.ipv6)] {
            if *address != HetznerAddress::None {
                parts.push(self.address(kind, &candidate.location.name));
            }
        }
        let sizes = options.volumes.iter().map(|volume| volume.size.unwrap_or(HetznerVolume::SMALLEST));
        parts.extend(sizes.map(|size| self.volume(u64::from(size))));
        let what = format!("{} in {}", candidate.server_type.name, candidate.location.name);
        self.sum(parts, what)
    }

    /// A server type's, without and with VAT.
    pub fn server(&self, server_type: &str, location: &str) -> (f64, f64) {
        let prices = self.server_type(server_type).into_iter().flat_map(|server_type| &server_type.prices);
        let price = prices.into_iter().find(|price| price.location == location);
        price.map_or((0.0, 0.0), |price| price.price_monthly.numbers())
    }

    /// Of a server's backups.
    pub fn backups(&self, server_type: &str, location: &str) -> (f64, f64) {
        let share = self.pricing.server_backup.percentage.parse::<f64>().unwrap_or(20.0) / 100.0;
        let (net, gross) = self.server(server_type, location);
        (net * share, gross * share)
    }

    /// Without and with VAT.
    pub fn address(&self, kind: &str, location: &str) -> (f64, f64) {
        let prices = self.pricing.primary_ips.iter().filter(|price| price.kind == kind).flat_map(|it| &it.prices);
        let price = prices.into_iter().find(|price| price.location == location);
        price.map_or((0.0, 0.0), |price| price.price_monthly.numbers())
    }

    /// Without and with VAT.
    pub fn load_balancer(&self, balancer_type: &str, location: &str) -> (f64, f64) {
        let types = &self.pricing.load_balancer_types;
        let prices = types.iter().filter(|it| it.name == balancer_type).flat_map(|it| &it.prices);
        let price = prices.into_iter().find(|price| price.location == location);
        price.map_or((0.0, 0.0), |price| price.price_monthly.numbers())
    }

    /// Of so many GB.
    pub fn volume(&self, size: u64) -> (f64, f64) {
        let (net, gross) = self.pricing.volume.price_per_gb_month.numbers();
        (net * size as f64, gross * size as f64)
    }

    pub fn sum(&self, parts: impl IntoIterator<Item = (f64, f64)>, what: String) -> Price {
        let (net, gross) = parts.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Price { net, gross, currency: self.pricing.currency.clone(), what }
    }
}

impl Candidate<'_> {
    /// Whether the location has the type, for as long as that is not over.
    fn is_offered(&self) -> bool {
        let place = self.server_type.locations.iter().find(|place| place.name == self.location.name);
        let gone = |deprecation: &Option<super::wire::Deprecation>| deprecation.as_ref().is_some_and(|it| it.is_over());
        place.is_some_and(|place| !gone(&place.deprecation)) && !gone(&self.server_type.deprecation)
    }

    /// Whether the vendor says that there is none left.
    pub fn is_sold_out(&self) -> bool {
        let place = self.server_type.locations.iter().find(|place| place.name == self.location.name);
        place.is_some_and(|place| place.available == Some(false))
    }
}

/// The image of this name for an architecture.
pub async fn image(client: &Client, name: &str, architecture: &str) -> Result<Option<Image>, HetznerError> {
    let query = [("name", name), ("architecture", architecture), ("type", "system")];
    let images: Vec<Image> = client.list("/images", &query).await?;
    Ok(images.into_iter().find(|image| image.status == "available"))
}
