package twine

import (
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// What addOffset does in place is what parser.AppendArg does.
func TestAddOffset(t *testing.T) {
	for _, data := range []string{`["x"]`, "[ \"x\" , [] \n] ", `["x",{"a":"]"}]`, "[\"x\",[]]\r\n"} {
		p := &parser.Packet{Type: parser.Event, Namespace: "/a", Data: []byte(data)}
		text, err := parser.AppendText(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		withArg := *p
		withArg.Data = parser.AppendArg(p.Data, []byte(`"17-3"`))
		want, err := parser.AppendText(nil, &withArg)
		if err != nil {
			t.Fatal(err)
		}
		if got := addOffset(text, "17-3"); string(got) != string(want) {
			t.Errorf("%s: got %s, want %s", data, got, want)
		}
	}
}
