package parser

import (
	"strings"
	"testing"
)

type chat struct {
	Room string `json:"room"`
	Text string `json:"text"`
	At   int64  `json:"at"`
}

var benchArg = chat{Room: "lobby", Text: strings.Repeat("message ", 8), At: 1700000000000}

func BenchmarkEncodeEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		data, attachments, err := EventData("chat", &benchArg)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := JSON.Encode(&Packet{Type: Event, Data: data, Attachments: attachments}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendText(b *testing.B) {
	data, _, err := EventData("chat", &benchArg)
	if err != nil {
		b.Fatal(err)
	}
	p := &Packet{Type: Event, Namespace: "/chat", Data: data}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendText(buf, p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	for _, bench := range []struct{ name, text string }{
		{"small", `2["chat",{"room":"lobby","text":"hello","at":1700000000000}]`},
		{"namespace", `2/chat,17["chat",{"room":"lobby","text":"hello","at":1700000000000}]`},
		{"10KB", `2["chat",{"text":"` + strings.Repeat("message ", 1250) + `"}]`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := JSON.NewDecoder()
			text := []byte(bench.text)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(text, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeBinaryEvent(b *testing.B) {
	d := JSON.NewDecoder()
	text, bin := []byte(`51-["chat",{"_placeholder":true,"num":0}]`), make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(text, false); err != nil {
			b.Fatal(err)
		}
		if p, err := d.Decode(bin, true); p == nil || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplitArgs(b *testing.B) {
	data := []byte(`["chat",{"room":"lobby","text":"hello","at":1700000000000},true]`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SplitArgs(data); err != nil {
			b.Fatal(err)
		}
	}
}

// A text event costs its packet and the copy of its data, nothing else.
func TestDecodeAllocations(t *testing.T) {
	d := JSON.NewDecoder()
	text := []byte(`2/chat,17["chat",{"room":"lobby"}]`)
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := d.Decode(text, false); err != nil {
			t.Error(err)
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations, want at most 2", allocs)
	}
}
