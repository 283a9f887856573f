package msgpack

import (
	"errors"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// The pieces of messages.
const (
	typeKey = "\xa4type"
	dataKey = "\xa4data"
	nspKey  = "\xa3nsp"
	idKey   = "\xa2id"
	mainNsp = "\xa1/"
	evData  = "\x91\xa2ev"
	undef   = "\xd4\x00\x00"
)

// packetOf is the message of a packet for the main namespace.
func packetOf(kind byte, data string) string {
	return mapOf(typeKey, string([]byte{kind}), dataKey, data, nspKey, mainNsp)
}

// mapOf is a map of up to 15 members.
func mapOf(members ...string) string {
	return string([]byte{0x80 + byte(len(members)/2)}) + strings.Join(members, "")
}

func TestDecode(t *testing.T) {
	for name, tt := range map[string]struct{ message, want string }{
		"members in another order": {
			mapOf(nspKey, mainNsp, idKey, "\x07", dataKey, evData, typeKey, "\x02"),
			`EVENT "/" id=7,true data=["ev"] attachments=[]`},
		"members unknown": {
			mapOf("\xa1x", "\x92\xc4\x01a\x81\xac_placeholder\xc3", typeKey, "\x02", dataKey, "\x92\xa1e\xc4\x01b", nspKey, mainNsp),
			`EVENT "/" id=0,false data=["e",{"_placeholder":true,"num":0}] attachments=["b"]`},
		"type and id in more bytes than needed": {
			mapOf(typeKey, "\xd3\x00\x00\x00\x00\x00\x00\x00\x02", dataKey, evData, idKey, "\xcd\x00\x01", nspKey, mainNsp),
			`EVENT "/" id=1,true data=["ev"] attachments=[]`},
		"largest id": {
			mapOf(typeKey, "\x03", dataKey, "\x90", idKey, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", nspKey, mainNsp),
			`ACK "/" id=18446744073709551615,true data=[] attachments=[]`},
		"id nil": {
			mapOf(typeKey, "\x02", dataKey, evData, idKey, "\xc0", nspKey, mainNsp),
			`EVENT "/" id=0,false data=["ev"] attachments=[]`},
		"disconnect, data nil":       {packetOf(1, "\xc0"), `DISCONNECT "/" id=0,false data= attachments=[]`},
		"disconnect, data undefined": {packetOf(1, undef), `DISCONNECT "/" id=0,false data= attachments=[]`},
		"map 16, array 32, str 32": {
			"\xde\x00\x03" + typeKey + "\x02" + dataKey + "\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x01e" + nspKey + mainNsp,
			`EVENT "/" id=0,false data=["e"] attachments=[]`},
		"map 32, array 16, str 16": {
			"\xdf\x00\x00\x00\x03" + typeKey + "\x02" + dataKey + "\xdc\x00\x01\xda\x00\x01e" + nspKey + mainNsp,
			`EVENT "/" id=0,false data=["e"] attachments=[]`},
		"event named by a number":      {packetOf(2, "\x91\x05"), `EVENT "/" id=0,false data=[5] attachments=[]`},
		"event named like an escape":   {packetOf(2, "\x91\xa2\"\n"), `EVENT "/" id=0,false data=["\"\n"] attachments=[]`},
		"keys twice are kept":          {packetOf(2, "\x92\xa1e\x82\xa1k\x01\xa1k\x02"), `EVENT "/" id=0,false data=["e",{"k":1,"k":2}] attachments=[]`},
		"lookalike without binary":     {packetOf(2, "\x92\xa1e\x82\xac_placeholder\xc3\xa3num\x00"), `EVENT "/" id=0,false data=["e",{"_placeholder":true,"num":0}] attachments=[]`},
		"no lookalike beside binary":   {packetOf(2, "\x93\xa1e\xc4\x00\x81\xac_placeholder\xc2"), `EVENT "/" id=0,false data=["e",{"_placeholder":true,"num":0},{"_placeholder":false}] attachments=[""]`},
		"floats":                       {packetOf(2, "\x96\xa1e\xca\x3f\x80\x00\x00\xca\x3d\xcc\xcc\xcd\xca\x7f\x80\x00\x00\xcb\x80\x00\x00\x00\x00\x00\x00\x00\xcb\x44\x15\xaf\x1d\x78\xb5\x8c\x40"), `EVENT "/" id=0,false data=["e",1,0.10000000149011612,null,0,100000000000000000000] attachments=[]`},
		"64 bits":                      {packetOf(2, "\x93\xa1e\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), `EVENT "/" id=0,false data=["e",18446744073709551615,-9223372036854775808] attachments=[]`},
		"bin 16, bin 32, ext 16, 32":   {packetOf(2, "\x95\xa1e\xc5\x00\x01a\xc6\x00\x00\x00\x01b\xc8\x00\x01\x00c\xc9\x00\x00\x00\x01\x00d"), `EVENT "/" id=0,false data=["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":true,"num":2},{"_placeholder":true,"num":3}] attachments=["a" "b" "c" "d"]`},
		"extensions that nobody knows": {packetOf(2, "\x94\xa1e\xd4\x05x\xd5\x00xy\xc7\x00\xfe"), `EVENT "/" id=0,false data=["e",[5,{"_placeholder":true,"num":0}],[0,{"_placeholder":true,"num":1}],[-2,{"_placeholder":true,"num":2}]] attachments=["x" "xy" ""]`},
		"invalid Date":                 {packetOf(2, "\x92\xa1e\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), `EVENT "/" id=0,false data=["e",null] attachments=[]`},
		"last and first Date":          {packetOf(2, "\x93\xa1e\xd7\x00\x00\x1e\xb2\x08\xc2\xdc\x00\x00\xd7\x00\xff\xe1\x4d\xf7\x3d\x24\x00\x00"), `EVENT "/" id=0,false data=["e","+275760-09-13T00:00:00.000Z","-271821-04-20T00:00:00.000Z"] attachments=[]`},
		"nanoseconds":                  {packetOf(2, "\x92\xa1e\xd7\xff\x00\x00\x00\x04\x00\x00\x00\x00"), `EVENT "/" id=0,false data=["e","1970-01-01T00:00:00.000000001Z"] attachments=[]`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Codec.NewDecoder().Decode([]byte(tt.message), true)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(p); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if p.Attachments != nil && len(p.Attachments) == 0 {
				t.Error("attachments are empty, not nil")
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	manyBins := strings.Repeat("\xc4\x00", parser.MaxAttachments+1)
	for name, tt := range map[string]struct {
		message string
		want    error
	}{
		"nothing":                  {"", errTruncated},
		"no map":                   {"\x92\x02\x01", errNotMap},
		"nil":                      {"\xc0", errNotMap},
		"a code that is not used":  {packetOf(2, "\x92\xa1e\xc1"), errCode},
		"cut within the map":       {packetOf(2, evData)[:9], errTruncated},
		"cut within a key":         {"\x83\xa4ty", errTruncated},
		"bytes behind":             {packetOf(2, evData) + "\xc0", errTrailing},
		"key no string":            {mapOf("\x01", "\x01", typeKey, "\x02", dataKey, evData, nspKey, mainNsp), errKey},
		"type twice":               {mapOf(typeKey, "\x02", typeKey, "\x02", dataKey, evData, nspKey, mainNsp), errTwice},
		"data twice":               {mapOf(typeKey, "\x02", dataKey, evData, dataKey, evData, nspKey, mainNsp), errTwice},
		"no type":                  {mapOf(dataKey, evData, nspKey, mainNsp), errMissing},
		"no namespace":             {mapOf(typeKey, "\x02", dataKey, evData), errMissing},
		"type of a binary event":   {packetOf(5, evData), errType},
		"type negative":            {mapOf(typeKey, "\xff", dataKey, evData, nspKey, mainNsp), errType},
		"type a float":             {mapOf(typeKey, "\xcb\x40\x00\x00\x00\x00\x00\x00\x00", dataKey, evData, nspKey, mainNsp), errType},
		"type a string":            {mapOf(typeKey, "\xa12", dataKey, evData, nspKey, mainNsp), errType},
		"id negative":              {mapOf(typeKey, "\x02", dataKey, evData, idKey, "\xd0\xff", nspKey, mainNsp), errNumber},
		"id a string":              {mapOf(typeKey, "\x02", dataKey, evData, idKey, "\xa11", nspKey, mainNsp), errNumber},
		"namespace no string":      {mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\x01"), errNamespace},
		"namespace without slash":  {mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\xa1x"), errNamespace},
		"namespace empty":          {mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\xa0"), errNamespace},
		"namespace with a comma":   {mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\xa2/,"), errNamespace},
		"namespace not UTF-8":      {mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\xa2/\xff"), errUTF8},
		"text not UTF-8":           {packetOf(2, "\x92\xa1e\xa1\x80"), errUTF8},
		"key not UTF-8":            {packetOf(2, "\x92\xa1e\x81\xa1\x80\x01"), errUTF8},
		"half a surrogate pair":    {packetOf(2, "\x92\xa1e\xa3\xed\xa0\x80"), errUTF8},
		"event without data":       {mapOf(typeKey, "\x02", nspKey, mainNsp), errPayload},
		"event, data nil":          {packetOf(2, "\xc0"), errPayload},
		"event, data a map":        {packetOf(2, "\x80"), errPayload},
		"event without a name":     {packetOf(2, "\x90"), errEventName},
		"event named by nil":       {packetOf(2, "\x91\xc0"), errEventName},
		"event named by a bin":     {packetOf(2, "\x91\xc4\x01a"), errEventName},
		"event named by NaN":       {packetOf(2, "\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), errEventName},
		"event reserved":           {packetOf(2, "\x91\xaadisconnect"), parser.ErrReservedEvent},
		"acknowledgement, a map":   {packetOf(3, "\x80"), errPayload},
		"connect, an array":        {packetOf(0, "\x90"), errPayload},
		"connect, a bin":           {packetOf(0, "\xc4\x01a"), errPayload},
		"connect with a bin":       {packetOf(0, "\x81\xa1a\xc4\x01a"), errAttachmentType},
		"disconnect with data":     {packetOf(1, "\x90"), errPayload},
		"connect error, a number":  {packetOf(4, "\x01"), errPayload},
		"connect error, a Date":    {packetOf(4, "\xd7\x00\x00\x00\x00\x00\x00\x00\x00\x00"), errPayload},
		"connect error, no data":   {mapOf(typeKey, "\x04", nspKey, mainNsp), errPayload},
		"too many binary values":   {packetOf(2, "\x9c\xa1e"+manyBins), parser.ErrTooManyAttachments},
		"too many, not in data":    {mapOf("\xa1x", "\x9b"+manyBins, typeKey, "\x02", dataKey, evData, nspKey, mainNsp), parser.ErrTooManyAttachments},
		"lookalike beside binary":  {packetOf(2, "\x93\xa1e\xc4\x00\x82\xac_placeholder\xc3\xa3num\x00"), errPlaceholder},
		"lookalike around binary":  {packetOf(2, "\x92\xa1e\x82\xac_placeholder\xc3\xa1x\xc4\x00"), errPlaceholder},
		"too many nanoseconds":     {packetOf(2, "\x92\xa1e\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00"), errTimestamp},
		"timestamp far off":        {packetOf(2, "\x92\xa1e\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), errTimestamp},
		"array of 4 billion":       {packetOf(2, "\xdd\xff\xff\xff\xff"), errTruncated},
		"map of 4 billion":         {packetOf(2, "\x92\xa1e\xdf\xff\xff\xff\xff"), errTruncated},
		"packet of 4 billion":      {"\xdf\xff\xff\xff\xff" + typeKey, errTruncated},
		"string of 4 billion":      {packetOf(2, "\x91\xdb\xff\xff\xff\xff"), errTruncated},
		"binary of 4 billion":      {packetOf(2, "\x92\xa1e\xc6\xff\xff\xff\xff"), errTruncated},
		"extension of 4 billion":   {packetOf(2, "\x92\xa1e\xc9\xff\xff\xff\xff\x00"), errTruncated},
		"fixed array too short":    {mapOf(typeKey, "\x02", nspKey, mainNsp, dataKey, "\x9f\x01"), errTruncated},
		"fixed map too short":      {mapOf(typeKey, "\x02", nspKey, mainNsp, dataKey, "\x91\x8f\x01"), errTruncated},
		"undefined cut short":      {mapOf(typeKey, "\x02", nspKey, mainNsp, dataKey, "\x91\xd4\x00"), errTruncated},
		"nested too deep":          {packetOf(2, "\x92\xa1e"+strings.Repeat("\x91", parser.MaxDepth)+"\x01"), parser.ErrTooDeep},
		"nested too deep, ignored": {mapOf("\xa1x", strings.Repeat("\x81\xa1k", parser.MaxDepth+1)+"\x01", nspKey, mainNsp), parser.ErrTooDeep},
		"binary too deep":          {packetOf(2, "\x92\xa1e"+strings.Repeat("\x91", parser.MaxDepth-1)+"\xc4\x00"), parser.ErrTooDeep},
		"extension too deep":       {packetOf(2, "\x92\xa1e"+strings.Repeat("\x91", parser.MaxDepth-2)+"\xd4\x05x"), parser.ErrTooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Codec.NewDecoder().Decode([]byte(tt.message), true)
			if !errors.Is(err, tt.want) || !errors.Is(err, parser.ErrMalformed) || p != nil {
				t.Errorf("got %s and %v, want %v", show(p), err, tt.want)
			}
		})
	}
}

func TestDecodeRefusesText(t *testing.T) {
	if _, err := Codec.NewDecoder().Decode([]byte(`2["ev"]`), false); !errors.Is(err, parser.ErrMalformed) {
		t.Errorf("got %v", err)
	}
}

// As deep as is allowed, in both directions.
func TestDeepest(t *testing.T) {
	for _, innermost := range []string{"\x01", "\xa1s", "\x80"} {
		outer := parser.MaxDepth - 1
		if innermost == "\x80" {
			outer--
		}
		p := decode(t, []byte(packetOf(2, "\x92\xa1e"+strings.Repeat("\x91", outer)+innermost)))
		expectPacket(t, decode(t, encode(t, p)), p)
	}
}

// A packet must not change when the buffer that its message was in is used again.
func TestDecodeBorrows(t *testing.T) {
	message := []byte(mapOf(typeKey, "\x02", dataKey, "\x92\xa2ev\xc4\x03abc", nspKey, "\xa5/chat"))
	p := decode(t, message)
	want := show(p)
	for i := range message {
		message[i] = 0xff
	}
	if got := show(p); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What a namespace's name costs is paid once, unless it is long.
func TestDecodeKeepsNamespace(t *testing.T) {
	d := Codec.NewDecoder()
	for _, name := range []string{"/chat", "/chat", "/" + strings.Repeat("x", 100), "/", "/chat"} {
		p, err := d.Decode([]byte(mapOf(typeKey, "\x02", dataKey, evData, nspKey, "\xd9"+string([]byte{byte(len(name))})+name)), true)
		if err != nil || p.Namespace != name {
			t.Errorf("%s: got %s, %v", name, show(p), err)
		}
	}
}
