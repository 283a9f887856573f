package msgpack

import (
	"errors"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

func TestEncode(t *testing.T) {
	for name, tt := range map[string]struct {
		packet parser.Packet
		want   string
	}{
		"namespace empty": {parser.Packet{Type: parser.Disconnect}, mapOf(typeKey, "\x01", nspKey, mainNsp)},
		"white space":     {event("/", "[ \"e\" ,\n{ \"k\" : [ ] , \"l\":{ }\t} , 1 ]"), packetOf(2, "\x93\xa1e\x82\xa1k\x90\xa1l\x80\x01")},
		"escapes":         {event("/", `["\u0065","\ud83d\udc4d","\ud83d","\/"]`), packetOf(2, "\x94\xa1e\xa4👍\xa3\ufffd\xa1/")},
		"whole numbers written as others": {event("/", `["e",1.0,-2e1,-0,-0.0,9007199254740993]`),
			packetOf(2, "\x96\xa1e\x01\xec\x00\x00\xcf\x00\x20\x00\x00\x00\x00\x00\x01")},
		"numbers past 64 bits": {event("/", `["e",18446744073709551616,1e999]`),
			packetOf(2, "\x93\xa1e\xcb\x43\xf0\x00\x00\x00\x00\x00\x00\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00")},
		"attachments in another order": {
			event("/", `["e",{"num":1,"_placeholder":true},[{"_placeholder":true,"num":0.0}],{"a":[[]]}]`, "0", "1"),
			packetOf(2, "\x94\xa1e\xc4\x011\x91\xc4\x010\x81\xa1a\x91\x90")},
		"placeholder with escapes": {event("/", `["e",{"_\u0070laceholder":true,"\u006eum":0}]`, "0"), packetOf(2, "\x92\xa1e\xc4\x010")},
		"placeholder with more within": {
			event("/", `["e",{"_placeholder":true,"x":[{"_placeholder":true,"num":0}],"num":0},{}]`, "0"),
			packetOf(2, "\x93\xa1e\xc4\x010\x80")},
		"no placeholder after all": {
			event("/", `["e",{"_placeholder":true,"_placeholder":false},{"_placeholder":true,"num":0}]`, ""),
			packetOf(2, "\x93\xa1e\x82\xac_placeholder\xc3\xac_placeholder\xc2\xc4\x00")},
		"attachment nil":          {parser.Packet{Type: parser.Event, Data: []byte(`["e",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{nil}}, packetOf(2, "\x92\xa1e\xc4\x00")},
		"attachment nobody wants": {event("/", `["e"]`, "0"), packetOf(2, "\x91\xa1e")},
		"lookalike":               {event("/", `["e",{"_placeholder":true,"num":7}]`), packetOf(2, "\x92\xa1e\x82\xac_placeholder\xc3\xa3num\x07")},
	} {
		t.Run(name, func(t *testing.T) {
			if got := encode(t, &tt.packet); string(got) != tt.want {
				t.Errorf("got  %x\nwant %x", got, tt.want)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		packet parser.Packet
		want   error
	}{
		"type unknown":                {parser.Packet{Type: 5, Data: []byte(`["e"]`)}, errType},
		"acknowledgement without id":  {parser.Packet{Type: parser.Ack, Data: []byte(`[]`)}, errAckID},
		"namespace without slash":     {event("x", `["e"]`), errNamespace},
		"namespace with a comma":      {event("/a,b", `["e"]`), errNamespace},
		"namespace not UTF-8":         {event("/\xff", `["e"]`), errUTF8},
		"event without data":          {parser.Packet{Type: parser.Event}, errPayload},
		"event, an object":            {event("/", `{}`), errPayload},
		"connect, an array":           {parser.Packet{Data: []byte(`[]`)}, errPayload},
		"connect, two objects":        {parser.Packet{Data: []byte(`{},{}`)}, errPayload},
		"connect with attachment":     {parser.Packet{Data: []byte(`{}`), Attachments: [][]byte{nil}}, errAttachmentType},
		"disconnect with data":        {parser.Packet{Type: parser.Disconnect, Data: []byte(`{}`)}, errPayload},
		"connect error, a number":     {parser.Packet{Type: parser.ConnectError, Data: []byte(`1`)}, errPayload},
		"invalid JSON":                {event("/", `["e"`), parser.ErrMalformed},
		"invalid JSON of a connect":   {parser.Packet{Data: []byte(`{"a":}`)}, parser.ErrMalformed},
		"not UTF-8":                   {event("/", "[\"\xff\"]"), parser.ErrMalformed},
		"too deep":                    {event("/", strings.Repeat("[", parser.MaxDepth+1)+strings.Repeat("]", parser.MaxDepth+1)), parser.ErrTooDeep},
		"too many attachments":        {event("/", `["e"]`, make([]string, parser.MaxAttachments+1)...), parser.ErrTooManyAttachments},
		"placeholder of none":         {event("/", `["e",{"_placeholder":true,"num":1}]`, ""), errPlaceholder},
		"placeholder without number":  {event("/", `["e",{"_placeholder":true}]`, ""), errPlaceholder},
		"placeholder of a string":     {event("/", `["e",{"_placeholder":true,"num":"0"}]`, ""), errPlaceholder},
		"placeholder of a long story": {event("/", `["e",{"_placeholder":true,"num":0.`+strings.Repeat("0", 40)+`}]`, ""), errPlaceholder},
		"placeholder twice":           {event("/", `["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`, ""), errPlaceholder},
	} {
		t.Run(name, func(t *testing.T) {
			parts, err := Codec.Encode(&tt.packet)
			if !errors.Is(err, tt.want) || !errors.Is(err, parser.ErrMalformed) || parts != nil {
				t.Errorf("got %v and %v, want %v", parts, err, tt.want)
			}
		})
	}
}
