package main

import (
	"strings"
	"testing"
)

func event(n uint32, size int) []byte { return []byte(`["m","` + payload(n, size) + `"]`) }

func TestPayload(t *testing.T) {
	if p := payload(42, 100); len(p) != 100 || !strings.HasPrefix(p, "0000000042..") {
		t.Errorf("got %q", p)
	}
	if p := payload(42, 3); p != "0000000042" {
		t.Errorf("got %q", p)
	}
}

func TestReceiptsAcceptEachOnceInOrder(t *testing.T) {
	r := newReceipts(2, 8, 20, false)
	for n := uint32(8); n < 12; n++ {
		for i := range 2 {
			if err := r.check(i, event(n, 20)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestReceiptsRefuse(t *testing.T) {
	for name, e := range map[string]string{
		"missing one":  string(event(9, 20)),
		"repeated":     string(event(7, 20)),
		"shorter":      string(event(8, 19)),
		"longer":       string(event(8, 21)),
		"damaged":      strings.Replace(string(event(8, 20)), "..", ".,", 1),
		"no number":    strings.Replace(string(event(8, 20)), "0", "x", 1),
		"other event":  strings.Replace(string(event(8, 20)), `"m"`, `"n"`, 1),
		"more after":   string(event(8, 20)) + " ",
		"ack":          "1" + string(event(8, 20)),
		"no arguments": `["m"]`,
		"empty":        "",
		"almost":       `["m","`,
	} {
		r := newReceipts(1, 8, 20, false)
		if err := r.check(0, []byte(e)); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := r.check(0, event(8, 20)); err != nil {
			t.Errorf("%s: changed what is expected: %v", name, err)
		}
	}
}

func TestReceiptsOfALog(t *testing.T) {
	plain := strings.TrimSuffix(string(event(8, 20)), "]")
	for _, end := range []string{"]", `,"1-2"`, `,"1"]`, `,"-2"]`, `,"1-"]`, `,"1-x"]`, `,"1-2]`, `,1-2]`, `,"1-2"]]`, `,"1-2",3]`} {
		r := newReceipts(1, 8, 20, true)
		if err := r.check(0, []byte(plain+end)); err == nil {
			t.Errorf("%s: no error", end)
		}
		if err := r.check(0, []byte(plain+`,"1766000000000-12"]`)); err != nil {
			t.Errorf("after %s: %v", end, err)
		}
	}
}
