package parser

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"
)

// Whatever is decoded is valid, and survives being encoded and decoded again. The input is cut into messages at each 0x1e,
// which JSON cannot contain; a message that begins with "b" is binary.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream []byte) {
		d := JSON.NewDecoder()
		for _, message := range bytes.Split(stream, []byte{0x1e}) {
			binary := len(message) > 0 && message[0] == 'b'
			if binary {
				message = message[1:]
			}
			p, err := d.Decode(message, binary)
			if err != nil {
				if !errors.Is(err, ErrMalformed) || p != nil {
					t.Fatalf("%q: %v and %v", message, p, err)
				}
				return
			}
			if p != nil {
				checkDecoded(t, p)
			}
		}
	})
}

func checkDecoded(t *testing.T, p *Packet) {
	t.Helper()
	if len(p.Namespace) == 0 || p.Namespace[0] != '/' || p.Type > ConnectError || len(p.Attachments) > MaxAttachments {
		t.Fatalf("%+v", p)
	}
	if p.Data != nil && (!json.Valid(p.Data) || !utf8.Valid(p.Data)) {
		t.Fatalf("invalid JSON passed: %q", p.Data)
	}
	if p.Type == Event || p.Type == Ack {
		args, err := SplitArgs(p.Data)
		if err != nil {
			t.Fatalf("%q: %v", p.Data, err)
		}
		if p.Type == Event {
			if name, err := EventName(args[0]); err != nil || args[0][0] == '"' && Reserved(name) {
				t.Fatalf("name %q of %q: %v", name, p.Data, err)
			}
		}
		for _, arg := range args {
			var v any
			if err := DecodeArg(arg, p.Attachments, &v); err != nil && !isRange(err) {
				t.Fatalf("%q: %v", arg, err)
			}
		}
	}
	if p.Type == Ack && !p.HasID {
		return // decoded, but never sent
	}
	if got := recode(t, p); !reflect.DeepEqual(got, p) {
		t.Fatalf("got %+v, want %+v", got, p)
	}
}

// isRange reports whether a number such as 1e999, which is valid JSON, did not fit.
func isRange(err error) bool {
	var mismatch *json.UnmarshalTypeError
	return errors.As(err, &mismatch)
}

func recode(t *testing.T, p *Packet) *Packet {
	t.Helper()
	parts, err := JSON.Encode(p)
	if err != nil {
		t.Fatalf("encode %+v: %v", p, err)
	}
	d := JSON.NewDecoder()
	for i, part := range parts {
		got, err := d.Decode(part.Data, part.Binary)
		if err != nil {
			t.Fatalf("decode %v: %v", parts, err)
		}
		if (got != nil) != (i == len(parts)-1) {
			t.Fatalf("part %d of %d completed the packet: %v", i, len(parts), got != nil)
		}
		if got != nil {
			return got
		}
	}
	return nil
}

// What is encoded is decoded as the same.
func FuzzRoundTrip(f *testing.F) {
	f.Fuzz(func(t *testing.T, namespace, event string, id uint64, hasID, ack bool, text string, raw, bin []byte) {
		args := []any{text, map[string]any{text: bin, "raw": json.RawMessage(raw)}, bin}
		data, attachments, err := EventData(event, args...)
		p := &Packet{Type: Event, Namespace: namespace, ID: id, HasID: hasID}
		if ack {
			data, attachments, err = EncodeArgs(args...)
			p.Type = Ack
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			if json.Valid(raw) && utf8.Valid(raw) && !bytes.Contains(raw, []byte("laceholder")) && !bytes.Contains(raw, []byte(`\`)) &&
				!(Reserved(event) && !ack) && !errors.Is(err, ErrTooDeep) {
				t.Fatalf("refused %q: %v", raw, err)
			}
			return
		}
		p.Data, p.Attachments = data, attachments
		if !hasID {
			p.ID = 0
		}
		if err := checkOutgoing(p); err != nil {
			if checkNamespace(namespace) == nil && !(ack && !hasID) {
				t.Fatalf("%+v: %v", p, err)
			}
			return
		}
		got := recode(t, p)
		if p.Namespace == "" {
			p.Namespace = "/"
		}
		if !reflect.DeepEqual(got, p) {
			t.Fatalf("got %+v, want %+v", got, p)
		}

		elements, err := SplitArgs(got.Data)
		if err != nil {
			t.Fatal(err)
		}
		if !ack {
			if name, err := EventName(elements[0]); err != nil || name != validUTF8(event) {
				t.Fatalf("name is %q, want %q: %v", name, event, err)
			}
			elements = elements[1:]
		}
		var gotText string
		if err := DecodeArg(elements[0], got.Attachments, &gotText); err != nil || gotText != validUTF8(text) {
			t.Fatalf("got %q, want %q: %v", gotText, text, err)
		}
		var gotBin []byte
		if err := DecodeArg(elements[2], got.Attachments, &gotBin); err != nil || !bytes.Equal(gotBin, bin) {
			t.Fatalf("got %q, want %q: %v", gotBin, bin, err)
		}
		longer := AppendArg(got.Data, []byte(`"1-0"`))
		if again, err := SplitArgs(longer); err != nil || string(again[len(again)-1]) != `"1-0"` {
			t.Fatalf("appended: %q: %v", longer, err)
		}
	})
}

func validUTF8(s string) string { return string([]rune(s)) }

// The scanner takes what package json takes, but for text that is not UTF-8 or too deep.
func FuzzSplitArgs(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		args, err := SplitArgs(data)
		var want []json.RawMessage
		wantErr := json.Unmarshal(data, &want)
		if wantErr == nil && (!utf8.Valid(data) || len(trimSpace(data)) == 4 && string(trimSpace(data)) == "null") {
			wantErr = ErrMalformed
		}
		if errors.Is(err, ErrTooDeep) {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got %v, package json %v", data, err, wantErr)
		}
		if err == nil && len(args) != len(want) {
			t.Fatalf("%q: got %d elements, want %d", data, len(args), len(want))
		}
		for i, arg := range args {
			if !bytes.Equal(arg, want[i]) {
				t.Fatalf("%q: element %d is %q, want %q", data, i, arg, want[i])
			}
		}
	})
}
