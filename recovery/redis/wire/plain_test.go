package wire

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// FuzzPlainOptions: what is read the short way is what package json reads.
func FuzzPlainOptions(f *testing.F) {
	for _, seed := range []string{
		`{"rooms":["a"],"except":[],"flags":{}}`, `{"rooms":["a","b é"],"except":["c"],"flags":{}}`, `{"rooms":[],"except":[],"flags":{}}`,
		`{"rooms":["a\n"],"except":[],"flags":{}}`, `{"rooms":["a",],"except":[],"flags":{}}`, `{"rooms":["a"],"except":[],"flags":{"local":true}}`,
		`{"rooms":["a"` + "\x00" + `],"except":[],"flags":{}}`, `{"rooms":["` + "\xff" + `"],"except":[],"flags":{}}`, `{"rooms":[,"a"],"except":[],"flags":{}}`,
		`{"rooms":["]"],"except":["\""],"flags":{}}`, `{"rooms":`, `{"rooms":[`, `{"rooms":["`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var short, long Options
		if !plainOptions([]byte(text), &short) {
			if !reflect.DeepEqual(short, Options{}) {
				t.Errorf("%q: not read, but changed to %+v", text, short)
			}
			return
		}
		if err := json.Unmarshal([]byte(text), &long); err != nil || !reflect.DeepEqual(short, long) {
			t.Errorf("%q is %+v, package json says %+v, %v", text, short, long, err)
		}
	})
}

func TestCommonOptionsArePlain(t *testing.T) {
	for _, o := range []Options{{}, {Rooms: []string{"room-1"}}, {Rooms: []string{"a", "é"}, Except: []string{"b"}}} {
		text, err := json.Marshal(o.withLists())
		if err != nil {
			t.Fatal(err)
		}
		var got Options
		if !plainOptions(text, &got) {
			t.Errorf("%s is not", text)
		}
	}
}

func BenchmarkParseBroadcast(b *testing.B) {
	const text = `{"packet":{"type":2,"data":["message",{"text":"one hundred bytes or so of a message","n":12345,"room":"room-17"}]},` +
		`"opts":{"rooms":["room-17"],"except":[],"flags":{}}}`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBroadcast([]byte(text)); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzAppendPlain: package json reads what is written the short way as what it was.
func FuzzAppendPlain(f *testing.F) {
	f.Add("a", "b", "c")
	f.Add("", "é\u2028", "<&>")
	f.Add("\"", "\\", "\n")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		o := Options{Rooms: []string{a, b}, Except: []string{c}}
		if checkNames(o.Rooms, o.Except) != nil {
			return
		}
		text, ok := appendPlain(nil, &o)
		if !ok {
			return
		}
		var read, plain Options
		if err := json.Unmarshal(text, &read); err != nil || !reflect.DeepEqual(read, o) {
			t.Errorf("%+v is written as %s and read as %+v, %v", o, text, read, err)
		}
		if !plainOptions(text, &plain) || !reflect.DeepEqual(plain, o) {
			t.Errorf("%s is read as %+v", text, plain)
		}
	})
}

func BenchmarkStreamData(b *testing.B) {
	packet := parser.Packet{Type: parser.Event, Data: []byte(`["message",{"text":"one hundred bytes or so of a message","n":12345,"room":"room-17"}]`)}
	broadcast := Broadcast{Packet: packet, Options: Options{Rooms: []string{"room-17"}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broadcast.StreamData(); err != nil {
			b.Fatal(err)
		}
	}
}
