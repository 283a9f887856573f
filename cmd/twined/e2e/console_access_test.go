//go:build e2e

package e2e

import (
	"testing"
)

// accessScript returns what keeps people out who do not see well, or have no mouse, or a small screen.
const accessScript = `(() => {
	const faults = [];
	const visible = (e) => e.checkVisibility() && e.getClientRects().length > 0;
	const nameOf = (e) => e.getAttribute("aria-label") ||
		(e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("") ||
		[...(e.labels ?? [])].map((l) => l.textContent).join("") || (e.tagName === "BUTTON" ? e.textContent : "");
	const say = (what, e) => faults.push(what + ": " + e.outerHTML.slice(0, 120));
	if (!document.documentElement.lang) faults.push("the page has no language");
	if (!document.title) faults.push("the page has no title");
	if (document.querySelectorAll("h1").length !== 1) faults.push("there is not one h1");
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push("twice the id " + id);
	for (const e of document.querySelectorAll("input, textarea, select, button, section, [role=img], [role=log]")) if (!nameOf(e).trim()) say("no name", e);
	for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) say("no alt", e);
	for (const e of document.querySelectorAll("[tabindex]")) if (e.tabIndex > 0) say("positive tabindex", e);
	for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) for (const e of document.querySelectorAll("[" + attribute + "]"))
		for (const id of e.getAttribute(attribute).split(" ")) if (!document.getElementById(id)) say("nothing has the id " + id, e);

	// Contrast, as WCAG defines it.
	const parse = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
			if (a === 1) return [r, g, b];
		}
		return [255, 255, 255];
	};
	for (const e of document.querySelectorAll("body *")) {
		const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.value;
		if (!text || !visible(e) || e.closest(":disabled") || e.tagName === "METER") continue;
		const [light, dark] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))].sort((a, b) => b - a);
		const ratio = (light + 0.05) / (dark + 0.05);
		if (ratio < 4.5) say("contrast " + ratio.toFixed(1), e);
	}
	if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the screen: " + document.documentElement.scrollWidth);
	document.getAnimations().forEach((a) => a.finish());
	return faults;
})()`

// checkAccess looks at the page in light and dark, on a desk and on a phone.
func checkAccess(t *testing.T, b *browser, when string) {
	t.Helper()
	for _, size := range [][2]int{{1280, 800}, {390, 844}, {320, 600}} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(map[string]any{"do": "emulate", "page": "p", "width": size[0], "height": size[1], "scheme": scheme}, nil)
			var faults []string
			b.do(map[string]any{"do": "evaluate", "page": "p", "script": accessScript}, &faults)
			for _, fault := range faults {
				t.Errorf("when %s, %s at %d: %s", when, scheme, size[0], fault)
			}
		}
	}
}
