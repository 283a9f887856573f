package msgpack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// benchEvent is as large as a typical chat message, with a picture if it is to be binary.
func benchEvent(b *testing.B, binary bool) *parser.Packet {
	b.Helper()
	args := []any{map[string]any{"room": "lobby", "text": strings.Repeat("message ", 8), "at": 1700000000000}}
	if binary {
		args = append(args, bytes.Repeat([]byte{0xab}, 4096))
	}
	data, attachments, err := parser.EventData("chat", args...)
	if err != nil {
		b.Fatal(err)
	}
	return &parser.Packet{Type: parser.Event, Namespace: "/chat", Data: data, Attachments: attachments}
}

func BenchmarkEncode(b *testing.B) { benchmarkEncode(b, benchEvent(b, false)) }

func BenchmarkEncodeBinary(b *testing.B) { benchmarkEncode(b, benchEvent(b, true)) }

func benchmarkEncode(b *testing.B, p *parser.Packet) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Codec.Encode(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) { benchmarkDecode(b, benchEvent(b, false)) }

func BenchmarkDecodeBinary(b *testing.B) { benchmarkDecode(b, benchEvent(b, true)) }

func benchmarkDecode(b *testing.B, p *parser.Packet) {
	message := encode(b, p)
	d := Codec.NewDecoder()
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(message, true); err != nil {
			b.Fatal(err)
		}
	}
}
