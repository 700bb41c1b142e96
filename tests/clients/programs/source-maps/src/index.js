import { addToBasket } from "./shop.js";

function checkout(basket, items) {
  for (const item of items) {
    addToBasket(basket, item);
  }
}

export function start() {
  checkout({ name: "basket", items: [] }, ["book", undefined]);
}
globalThis.start = start;
