package pubsub

import (
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

func TestBuffersInJSON(t *testing.T) {
	for _, test := range []struct {
		canonical   string
		attachments [][]byte
		node        string
	}{
		{`["e",1]`, nil, `["e",1]`},
		{`["e",{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1}]}]`, [][]byte{{1, 255}, {}},
			`["e",{"type":"Buffer","data":[1,255]},{"a":[{"type":"Buffer","data":[]}]}]`},
		{`["{\"_placeholder\":true}}","\\",{"_placeholder":true,"num":0}]`, [][]byte{{7}}, `["{\"_placeholder\":true}}","\\",{"type":"Buffer","data":[7]}]`},
	} {
		node, args, err := toNodeJSON([]byte(test.canonical), test.attachments)
		if err != nil || string(node) != test.node || len(args) == 0 {
			t.Errorf("%s became %s, %v", test.canonical, node, err)
		}
		if strings.Contains(test.canonical, `\"_placeholder`) {
			continue // is not told apart from what reads like a binary value
		}
		canonical, attachments := fromNodeJSON(node)
		if string(canonical) != test.canonical || len(attachments) != len(test.attachments) {
			t.Errorf("%s became %s, %v", node, canonical, attachments)
		}
		for i := range attachments {
			if string(attachments[i]) != string(test.attachments[i]) {
				t.Errorf("%s became %v", node, attachments)
			}
		}
	}
}

// What only looks like a Buffer, could be taken for something else later, or is too much, stays.
func TestNotBuffers(t *testing.T) {
	for _, data := range []string{
		`[{"type":"Buffer"}]`, `[{"type":"Buffer","data":[256]}]`, `[{"type":"Buffer","data":[-1]}]`, `[{"type":"Buffer","data":[1.5]}]`,
		`[{"type":"Buffer","data":"AQ=="}]`, `[{"type":"Buffer","data":null}]`, `[{"type":"Buffer","data":[1],"more":1}]`, `[{"type":"buffer","data":[1]}]`,
		`["{\"type\":\"Buffer\",\"data\":[1]}"]`, `[{"type":"Buffer","data":[[1]]}]`, `[{"type":"Buffer","data":[1]},{"_placeholder":true,"num":0}]`,
		`[{"type":"Buffer","data":[1]},{"\u005fplaceholder":true,"num":0}]`,
		`[` + strings.Repeat(`{"type":"Buffer","data":[1]},`, parser.MaxAttachments) + `{"type":"Buffer","data":[1]}]`,
		`{"type":"Buffer"`, `}`, `"`, `"\`, ``,
	} {
		if got, attachments := fromNodeJSON([]byte(data)); string(got) != data || len(attachments) > 0 {
			t.Errorf("%s became %s, %v", data, got, attachments)
		}
	}
	if _, _, err := toNodeJSON([]byte(`["e"]`), [][]byte{{1}}); err == nil {
		t.Error("a binary value without its place")
	}
	if _, _, err := toNodeJSON([]byte(`["e"`), nil); err == nil {
		t.Error("malformed arguments")
	}
}
