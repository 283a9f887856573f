package msgpack

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
	"pgregory.net/rapid"
)

// What an application emits, of any shape, arrives as the same canonical packet.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := packets().Draw(rt, "packet")
		parts, err := Codec.Encode(p)
		if err != nil {
			rt.Fatalf("encode %s: %v", show(p), err)
		}
		got, err := Codec.NewDecoder().Decode(parts[0].Data, parts[0].Binary)
		if err != nil {
			rt.Fatalf("decode %x: %v", parts[0].Data, err)
		}
		if show(got) != show(p) {
			rt.Fatalf("got  %s\nwant %s", show(got), show(p))
		}
	})
}

// Whether a packet went through this format or the default one makes no difference.
func TestSameAsJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := packets().Draw(rt, "packet")
		parts, err := parser.JSON.Encode(p)
		if err != nil {
			rt.Fatalf("JSON encode %s: %v", show(p), err)
		}
		d := parser.JSON.NewDecoder()
		var want *parser.Packet
		for _, part := range parts {
			if want, err = d.Decode(part.Data, part.Binary); err != nil {
				rt.Fatalf("JSON decode %q: %v", part.Data, err)
			}
		}
		parts, err = Codec.Encode(want)
		if err != nil {
			rt.Fatalf("encode %s: %v", show(want), err)
		}
		got, err := Codec.NewDecoder().Decode(parts[0].Data, true)
		if err != nil || show(got) != show(want) {
			rt.Fatalf("got  %s, %v\nwant %s", show(got), err, show(want))
		}
	})
}

func packets() *rapid.Generator[*parser.Packet] {
	return rapid.Custom(func(t *rapid.T) *parser.Packet {
		p := &parser.Packet{
			Type:      parser.Type(rapid.Uint8Range(0, 4).Draw(t, "type")),
			Namespace: rapid.SampledFrom([]string{"/", "/chat", "/a/b?c=d", "/ö"}).Draw(t, "namespace"),
		}
		var err error
		switch p.Type {
		case parser.Connect, parser.ConnectError:
			array, _, err := parser.EncodeArgs(map[string]any{"message": plain(3).Draw(t, "message")})
			if err != nil {
				t.Fatal(err)
			}
			p.Data = array[1 : len(array)-1]
		case parser.Event, parser.Ack:
			bins := 0
			args := make([]any, rapid.IntRange(0, 4).Draw(t, "args"))
			for i := range args {
				args[i] = tree(4, &bins).Draw(t, "arg")
			}
			if p.Type == parser.Event {
				p.Data, p.Attachments, err = parser.EventData(rapid.StringMatching(`[a-zé ]{0,40}!`).Draw(t, "event"), args...)
			} else {
				p.Data, p.Attachments, err = parser.EncodeArgs(args...)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if p.Type == parser.Ack || rapid.Bool().Draw(t, "hasID") {
			p.ID, p.HasID = rapid.Uint64().Draw(t, "id"), true
		}
		return p
	})
}

// plain are JSON values without binary ones.
func plain(depth int) *rapid.Generator[any] {
	full := parser.MaxAttachments
	return tree(depth, &full)
}

// tree are values of an application, with no more binary ones than a packet may have.
func tree(depth int, bins *int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 9
		if depth == 0 {
			kinds = 7
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Int64().Draw(t, "int")
		case 3:
			return rapid.Uint64().Draw(t, "uint")
		case 4:
			f := rapid.Float64().Draw(t, "float")
			if f == 0 {
				f = 0 // JSON.parse keeps the sign of -0, nobody else does
			}
			return f
		case 5:
			return rapid.String().Draw(t, "string")
		case 6:
			if *bins >= parser.MaxAttachments {
				return "no more"
			}
			*bins++
			return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "binary")
		case 7:
			array := make([]any, rapid.IntRange(0, 20).Draw(t, "elements"))
			for i := range array {
				array[i] = tree(depth-1, bins).Draw(t, "element")
			}
			return array
		default:
			// Not a map generator, for the binary values are numbered in the order of the keys.
			object := make(map[string]any)
			for range rapid.IntRange(0, 20).Draw(t, "members") {
				key := rapid.StringN(0, 40, 80).Draw(t, "key")
				if key == keyPlaceholder {
					continue
				}
				object[key] = tree(depth-1, bins).Draw(t, "member")
			}
			return object
		}
	})
}

// Whatever is decoded is valid, and survives being encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for _, tt := range recorded {
		f.Add(unhex(f, tt.message))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		p, err := Codec.NewDecoder().Decode(message, true)
		if err != nil {
			if !errors.Is(err, parser.ErrMalformed) || p != nil {
				t.Fatalf("%x: %s and %v", message, show(p), err)
			}
			return
		}
		if len(p.Data) > 6*len(message)+64 {
			t.Fatalf("%d bytes became %d", len(message), len(p.Data))
		}
		if p.Type == parser.Ack && !p.HasID {
			return // decoded, but never sent
		}
		expectPacket(t, decode(t, encode(t, p)), p)

		parts, err := parser.JSON.Encode(p)
		if err != nil {
			t.Fatalf("no valid packet: %s: %v", show(p), err)
		}
		d := parser.JSON.NewDecoder()
		for _, part := range parts {
			if _, err := d.Decode(part.Data, part.Binary); err != nil {
				t.Fatalf("no valid packet: %s: %v", show(p), err)
			}
		}
	})
}

// Whatever JSON a packet has, it is refused or arrives as the same value.
func FuzzEncode(f *testing.F) {
	f.Add(byte(2), []byte(`["e",{"_placeholder":true,"num":0},1.5,[{"":null}]]`), []byte("bin"))
	f.Add(byte(0), []byte(`{"token":"\u0000"}`), []byte(nil))
	f.Add(byte(4), []byte(`"text"`), []byte(nil))
	f.Fuzz(func(t *testing.T, kind byte, data, attachment []byte) {
		p := &parser.Packet{Type: parser.Type(kind), Namespace: "/", HasID: true, Data: data}
		if len(attachment) > 0 {
			p.Attachments = [][]byte{attachment}
		}
		parts, err := Codec.Encode(p)
		if err != nil {
			if !errors.Is(err, parser.ErrMalformed) {
				t.Fatalf("%s: %v", show(p), err)
			}
			return
		}
		got, err := Codec.NewDecoder().Decode(parts[0].Data, true)
		if err != nil {
			return // what JSON.Encode would send too: a reserved event, say
		}
		if len(attachment) > 0 && len(got.Attachments) == 1 && !bytes.Equal(got.Attachments[0], attachment) {
			t.Fatalf("got attachment %x, want %x", got.Attachments[0], attachment)
		}
		if len(attachment) == 0 && len(data) > 0 && !sameJSON(t, got.Data, data) {
			t.Fatalf("got %s, want %s", got.Data, data)
		}
	})
}

func sameJSON(t *testing.T, a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return true // a number out of range, which is null now
	}
	ax, errA := json.Marshal(x)
	by, errB := json.Marshal(y)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	return bytes.Equal(bytes.ReplaceAll(ax, []byte("-0"), []byte("0")), bytes.ReplaceAll(by, []byte("-0"), []byte("0")))
}
