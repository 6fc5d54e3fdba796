//! What a project can choose from, for people: server types with prices, locations, images.

use super::{
    client::{Client, Patience},
    error::HetznerError,
    offers::Catalog,
    wire::{Deprecation, Image},
};
use ostler_core::{secret::Secret, spec::HetznerEndpoint};
use serde::Serialize;

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Offers {
    /// Those that can still be ordered first, the cheapest first.
    pub types: Vec<TypeOffer>,
    /// By name.
    pub locations: Vec<LocationOffer>,
    /// The vendor's own, by name.
    pub images: Vec<ImageOffer>,
}

/// A server type.
#[derive(Clone, Debug, Serialize)]
pub struct TypeOffer {
    /// `cx23`
    pub name: String,
    /// `x86` or `arm`.
    pub architecture: String,
    /// `shared` or `dedicated`.
    pub cpu: String,
    /// Processors.
    pub cores: u64,
    /// GB.
    pub memory: f64,
    /// GB.
    pub disk: u64,
    /// Where it can be had, and for how much.
    pub prices: Vec<TypePrice>,
    /// The day from which on it can't be ordered any more.
    pub ends: Option<String>,
    /// Whether that day is over.
    pub gone: bool,
}

/// What a type costs in a location.
#[derive(Clone, Debug, Serialize)]
pub struct TypePrice {
    /// `fsn1`
    pub location: String,
    /// A month, without VAT.
    pub net: f64,
    /// A month, with VAT.
    pub gross: f64,
    /// `EUR`
    pub currency: String,
    /// Whether the vendor says that there are some.
    pub available: bool,
}

/// A location.
#[derive(Clone, Debug, Serialize)]
pub struct LocationOffer {
    /// `fsn1`
    pub name: String,
    /// City and country.
    pub city: String,
    /// Networks reach as far as it does.
    pub zone: String,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageOffer {
    /// `debian-13`
    pub name: String,
    /// What people call it.
    pub description: String,
    /// Processors that it is there for.
    pub architectures: Vec<String>,
    /// The day from which on it can't be used any more.
    pub ends: Option<String>,
}

impl Offers {
    /// Of a project that a token leads to, before there is a state to count requests in.
    pub async fn of(endpoint: &HetznerEndpoint, token: &Secret) -> Result<Self, HetznerError> {
        offers(&Client::new(endpoint, token, None, Patience::default())?).await
    }
}

impl TypeOffer {
    /// Its lowest price with VAT.
    pub fn cheapest(&self) -> Option<&TypePrice> {
        self.prices.iter().min_by(|a, b| a.gross.total_cmp(&b.gross))
    }
}

pub async fn offers(client: &Client) -> Result<Offers, HetznerError> {
    let catalog = Catalog::read(client).await?;
    let images: Vec<Image> = client.list("/images", &[("type", "system")]).await?;
    let mut types: Vec<TypeOffer> = catalog.types.iter().map(|server_type| type_offer(&catalog, server_type)).collect();
    types.sort_by(|a, b| {
        let price = |offer: &TypeOffer| offer.cheapest().map_or(f64::MAX, |price| price.gross);
        a.gone.cmp(&b.gone).then(price(a).total_cmp(&price(b))).then(a.name.cmp(&b.name))
    });
    let mut locations: Vec<LocationOffer> = catalog
        .locations
        .iter()
        .map(|location| LocationOffer {
            name: location.name.clone(),
            city: format!("{}, {}", location.city, location.country),
            zone: location.network_zone.clone(),
        })
        .collect();
    locations.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Offers { types, locations, images: image_offers(images) })
}

fn type_offer(catalog: &Catalog, server_type: &super::wire::ServerType) -> TypeOffer {
    let prices = server_type.prices.iter().filter_map(|price| {
        let place = server_type.locations.iter().find(|place| place.name == price.location)?;
        let (net, gross) = price.price_monthly.numbers();
        let (location, currency) = (price.location.clone(), catalog.pricing.currency.clone());
        Some(TypePrice { location, net, gross, currency, available: place.available != Some(false) })
    });
    let ending = server_type.deprecation.as_ref();
    TypeOffer {
        name: server_type.name.clone(),
        architecture: server_type.architecture.clone(),
        cpu: server_type.cpu_type.clone(),
        cores: server_type.cores,
        memory: server_type.memory,
        disk: server_type.disk,
        prices: prices.collect(),
        ends: ending.map(|ending| ending.day().to_owned()),
        gone: ending.is_some_and(Deprecation::is_over),
    }
}

/// One entry for each name, whatever processors it is there for.
fn image_offers(images: Vec<Image>) -> Vec<ImageOffer> {
    let mut offers: Vec<ImageOffer> = Vec::new();
    for image in images {
        let Some(name) = image.name else { continue };
        let ends = image.deprecation.as_ref().map(|ending| ending.day().to_owned());
        match offers.iter_mut().find(|offer| offer.name == name) {
            Some(offer) => offer.architectures.push(image.architecture),
            None => offers.push(ImageOffer {
                name,
                description: image.description,
                architectures: vec![image.architecture],
                ends,
            }),
        }
    }
    offers.sort_by(|a, b| a.name.cmp(&b.name));
    offers
}
