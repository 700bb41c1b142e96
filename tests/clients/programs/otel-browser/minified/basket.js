export function addToBasket(basket, item) {
  if (!item) {
    throw new TypeError("no item to add to " + basket.name);
  }
  basket.items.push(item);
}
