export const $ = (selector) => document.querySelector(selector);

// element makes an element. Text is always text, never markup.
export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
