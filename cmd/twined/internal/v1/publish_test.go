package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/recovery"
)

func TestPublish(t *testing.T) {
	s := startService(t)
	a, b, both := s.connect("a"), s.connect("b"), s.connect("a", "b")
	for _, test := range []struct {
		body      string
		a, b, two string // events without their offsets, "" for none
	}{
		{`{"room":"a","data":{"text":"hi"}}`, `["message",{"text":"hi"}`, "", `["message",{"text":"hi"}`},
		{`{"rooms":["a","b"],"event":"news","data":1}`, `["news",1`, `["news",1`, `["news",1`},
		{`{"rooms":["b","b"],"room":"a","args":[1,"two",null,{"three":[3.0]}]}`, `["message",1,"two",null,{"three":[3.0]}`, `["message",1,"two",null,{"three":[3.0]}`, `["message",1,"two",null,{"three":[3.0]}`},
		{`{"room":"a","except":["b"],"event":"x"}`, `["x"`, "", ""},
		{`{"rooms":["a","b"],"except":["` + both.id + `"],"args":[]}`, `["message"`, `["message"`, ""},
		{`{"room":"` + b.id + `","data":null}`, "", `["message",null`, ""},
	} {
		result := s.publish(test.body)
		if _, err := recovery.ParseOffset(result.Offset); err != nil || result.Duplicate || result.Error != "" {
			t.Errorf("%s: %+v", test.body, result)
		}
		for c, want := range map[*client]string{a: test.a, b: test.b, both: test.two} {
			if want != "" {
				c.next(fmt.Sprintf(`42%s,"%s"]`, want, result.Offset))
			}
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	s := startService(t)
	watch := s.connect("r")
	long := strings.Repeat("x", 1025)
	rooms := `["` + strings.Repeat(`r","`, 1000) + `r"]`
	for name, test := range map[string]struct {
		body, want string
	}{
		"empty":                   {``, "not a message"},
		"not JSON":                {`room=r`, "not a message"},
		"cut":                     {`{"room":"r"`, "not a message"},
		"array":                   {`[]`, "not a message"},
		"null":                    {`null`, "room is missing"},
		"string":                  {`"r"`, "not a message"},
		"two":                     {`{"room":"r"}{"room":"r"}`, "behind"},
		"invalid UTF-8":           {"{\"room\":\"r\",\"data\":\"\xff\"}", "UTF-8"},
		"unknown field":           {`{"room":"r","payload":{}}`, `unknown field \"payload\"`},
		"no room":                 {`{"data":1}`, "room is missing"},
		"room empty":              {`{"room":""}`, "room is missing"},
		"a room of rooms empty":   {`{"rooms":["r",""]}`, "empty"},
		"room a number":           {`{"room":5}`, "not a message"},
		"rooms a string":          {`{"rooms":"r"}`, "not a message"},
		"room too long":           {`{"room":"` + long + `"}`, "longer than 1024"},
		"too many rooms":          {`{"rooms":` + rooms + `}`, "1000 rooms"},
		"too many exceptions":     {`{"room":"r","except":` + rooms + `}`, "1000 rooms"},
		"exception too long":      {`{"room":"r","except":["` + long + `"]}`, "longer than 1024"},
		"data and args":           {`{"room":"r","data":1,"args":[2]}`, "not both"},
		"args no array":           {`{"room":"r","args":{"0":1}}`, "args is not an array"},
		"args null":               {`{"room":"r","args":null}`, "args is not an array"},
		"event a number":          {`{"room":"r","event":1}`, "not a message"},
		"event too long":          {`{"room":"r","event":"` + long[:256] + `"}`, "event is longer than 255"},
		"reserved event":          {`{"room":"r","event":"disconnect"}`, "reserved"},
		"reserved event, escaped": {`{"room":"r","event":"connec\u0074"}`, "reserved"},
		"id too long":             {`{"room":"r","id":"` + long[:256] + `"}`, "id is longer than 255"},
		"data too deep":           {`{"room":"r","data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "can't be sent"},
		"data much too deep":      {`{"room":"r","data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "not a message"},
		"no messages":             {`{"messages":[]}`, "from 1 to 1000"},
		"messages an object":      {`{"messages":{}}`, "not a message"},
		"too many messages":       {`{"messages":[` + strings.Repeat(`{"room":"r"},`, 1000) + `{"room":"r"}]}`, "from 1 to 1000"},
		"messages and a message":  {`{"messages":[{"room":"r"}],"event":"x"}`, "not both"},
		"messages and a room":     {`{"messages":[{"room":"r"}],"rooms":[]}`, "not both"},
		"one of them bad":         {`{"messages":[{"room":"r"},{"room":""}]}`, "messages[1]: room is missing"},
		"one of them reserved":    {`{"messages":[{"room":"r"},{"room":"r","event":"connect"}]}`, "messages[1]"},
		"one of them too deep":    {`{"messages":[{"room":"r"},{"room":"r","data":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}]}`, "messages[1]"},
		"stamp without data":      {`{"room":"r","stamp":true}`, "stamp needs one room, and data that is an object"},
		"stamp on a number":       {`{"room":"r","stamp":true,"data":1}`, "stamp needs"},
		"stamp on null":           {`{"room":"r","stamp":true,"data":null}`, "stamp needs"},
		"stamp on args":           {`{"room":"r","stamp":true,"args":[{}]}`, "stamp needs"},
		"stamp for two rooms":     {`{"rooms":["r","q"],"stamp":true,"data":{}}`, "stamp needs"},
		"stamp a text":            {`{"room":"r","stamp":"true","data":{}}`, "not a message"},
		"messages in messages":    {`{"messages":[{"messages":[]}]}`, "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.ask("POST", "/v1/publish", test.body)
			answer.problem(t, 400)
			if !strings.Contains(string(answer.body), test.want) {
				t.Errorf("got %s, want one with %q", answer.body, test.want)
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		s.ask("POST", "/v1/publish", `{"room":"r","data":"`+strings.Repeat("x", 1_000_000)+`"}`).problem(t, 413)
	})
	for name, header := range map[string][]string{
		"empty key":    {"Idempotency-Key", ""},
		"two keys":     {"Idempotency-Key", "a", "Idempotency-Key", "b"},
		"key too long": {"Idempotency-Key", long[:256]},
	} {
		t.Run(name, func(t *testing.T) {
			s.ask("POST", "/v1/publish", `{"room":"r"}`, header...).problem(t, 400)
		})
	}
	s.publish(`{"room":"r","data":"the first"}`)
	watch.next(`42["message","the first",`) // nothing of the above has come
}

// TestMalformedMessagesOfABatch: the answer tells all of them from those that were held back for them.
func TestMalformedMessagesOfABatch(t *testing.T) {
	s := startService(t)
	watch := s.connect("r")
	p := s.ask("POST", "/v1/publish", `{"messages":[{"room":"r"},{"room":"r","event":"connect"},{"room":"r"},{"data":1}]}`).problem(t, 400)
	var statuses []int
	for _, result := range p.Results {
		statuses = append(statuses, result.Status)
		if result.Error == "" || result.Offset != "" {
			t.Errorf("got %+v", result)
		}
	}
	if fmt.Sprint(statuses) != "[424 400 424 400]" || !strings.Contains(p.Detail, "messages[1]") || !strings.Contains(p.Results[3].Error, "room is missing") {
		t.Errorf("got %+v", p)
	}
	s.publish(`{"room":"r","data":"the first"}`)
	watch.next(`42["message","the first",`)
}

// TestStamp: the message is as POST /api/twine would send it, and is known again at another time.
func TestStamp(t *testing.T) {
	s := startService(t)
	watch := s.connect("r")
	before := time.Now().UnixMilli()
	first := s.publish(`{"room":"r","stamp":true,"data":{"n":1.50,"room":"q","timestamp":5},"id":"1"}`)
	packet := watch.next(`42["message",{"n":1.50,"room":"r","timestamp":`)
	var got []json.RawMessage
	var message struct{ Timestamp int64 }
	if err := errors.Join(json.Unmarshal([]byte(packet[2:]), &got), json.Unmarshal(got[1], &message)); err != nil {
		t.Fatal(err)
	}
	if message.Timestamp < before || message.Timestamp > time.Now().UnixMilli() {
		t.Errorf("got %s, sent after %d", packet, before)
	}
	eventually(t, "the clock moves on", func() bool { return time.Now().UnixMilli() > message.Timestamp })
	for _, body := range []string{`{"rooms":["r","r"],"stamp":true,"data":{"n":1.50},"id":"1"}`, `{"messages":[{"room":"r","stamp":true,"data":{"n":1.50},"id":"1"}]}`} {
		answer := s.ask("POST", "/v1/publish", body)
		if answer.StatusCode != 201 || !strings.Contains(string(answer.body), `{"offset":"`+first.Offset+`","duplicate":true}`) {
			t.Errorf("%s: %s %s", body, answer.Status, answer.body)
		}
	}
	for _, body := range []string{`{"room":"r","stamp":true,"data":{"n":1.5},"id":"1"}`, `{"room":"r","data":{"n":1.50},"id":"1"}`, `{"room":"r","stamp":true,"event":"x","data":{"n":1.50},"id":"1"}`} {
		s.ask("POST", "/v1/publish", body).problem(t, 422)
	}
	s.publish(`{"room":"r","stamp":true,"event":"x","data":{}}`)
	watch.next(`42["x",{"room":"r","timestamp":`)
}

func TestUnauthorized(t *testing.T) {
	s := startService(t)
	for _, path := range []string{"/v1/publish", "/v1/rooms", "/v1/nothing"} {
		for _, key := range []string{"", "wrong", "Bearer wrong", "Bearer ", "Bearer", "Basic secret", "Bearer secret2"} {
			answer := s.send("POST", path, strings.NewReader(`{"room":"r"}`), "Authorization", key)
			answer.problem(t, 401)
			if answer.Header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		}
	}
	for _, key := range []string{"Bearer secret", "bearer secret", "secret", "Bearer  secret"} {
		if answer := s.send("GET", "/v1/rooms", nil, "Authorization", key); answer.StatusCode != 200 {
			t.Errorf("key %q: %s", key, answer.Status)
		}
	}
}

func TestUnknownAddresses(t *testing.T) {
	s := startService(t)
	for _, path := range []string{"/v1/", "/v1/nothing", "/v1/publish/x", "/v1/rooms/r/nothing", "/v1/sockets"} {
		s.ask("GET", path, "").problem(t, 404)
	}
	for path, allow := range map[string]string{"GET /v1/publish": "POST", "DELETE /v1/rooms/r": "GET, HEAD", "POST /v1/sockets/x": "DELETE, GET, HEAD", "PUT /v1/rooms/r/history": "GET, HEAD"} {
		method, path, _ := strings.Cut(path, " ")
		answer := s.ask(method, path, "")
		answer.problem(t, 405)
		if answer.Header.Get("Allow") != allow {
			t.Errorf("%s %s: Allow is %q", method, path, answer.Header.Get("Allow"))
		}
	}
}

func TestBatchKeepsItsOrder(t *testing.T) {
	const messages = 1000
	s := startService(t)
	watch := s.connect("r")
	var body strings.Builder
	for n := range messages {
		fmt.Fprintf(&body, `,{"room":"r","data":%d}`, n)
	}
	var got struct{ Results []Result }
	s.ask("POST", "/v1/publish", `{"messages":[`+body.String()[1:]+`]}`).into(t, 201, &got)
	if len(got.Results) != messages {
		t.Fatalf("%d results", len(got.Results))
	}
	var last recovery.Offset
	for n, result := range got.Results {
		offset, err := recovery.ParseOffset(result.Offset)
		if err != nil || !offset.After(last) {
			t.Fatalf("result %d is %+v, after %v: %v", n, result, last, err)
		}
		last = offset
		watch.next(fmt.Sprintf(`42["message",%d,"%s"]`, n, result.Offset))
	}
}

func TestRepeatedMessages(t *testing.T) {
	s := startService(t)
	watch := s.connect("r", "q")
	first := s.publish(`{"room":"r","data":{"a":1,"b":2},"id":"1"}`)
	for _, body := range []string{`{"room":"r","data":{"a":1,"b":2},"id":"1"}`, `{"rooms":["r"],"event":"message","args":[{"b":2, "a":1}],"id":"1"}`} {
		if again := s.publish(body); !again.Duplicate || again.Offset != first.Offset {
			t.Errorf("%s: %+v, first %+v", body, again, first)
		}
	}
	if again := s.publish(`{"room":"r","data":{"a":1,"b":2}}`, "Idempotency-Key", "1"); !again.Duplicate {
		t.Errorf("with the key in the header: %+v", again)
	}
	for _, body := range []string{
		`{"room":"q","data":{"a":1,"b":2},"id":"1"}`, `{"rooms":["r","q"],"data":{"a":1,"b":2},"id":"1"}`, `{"room":"r","data":{"a":2,"b":2},"id":"1"}`,
		`{"room":"r","data":{"a":1,"b":2},"event":"x","id":"1"}`, `{"room":"r","except":["q"],"data":{"a":1,"b":2},"id":"1"}`, `{"room":"r","id":"1"}`,
	} {
		s.ask("POST", "/v1/publish", body).problem(t, 422)
	}
	s.publish(`{"room":"q","data":"end"}`)
	watch.next(`42["message",{"a":1,"b":2},"` + first.Offset)
	watch.next(`42["message","end",`)
	for i, want := range []fate{{}, {true, nil}, {true, nil}, {true, nil}} {
		if got := <-s.fates; got != want {
			t.Errorf("fate %d is %+v", i, got)
		}
	}
	if got := <-s.fates; !errors.Is(got.err, repeat.ErrOther) {
		t.Errorf("got %+v", got)
	}
}

func TestRepeatedBatch(t *testing.T) {
	s := startService(t)
	watch := s.connect("r")
	var first, again struct{ Results []Result }
	const body = `{"messages":[{"room":"r","data":0},{"room":"r","data":1,"id":"own"},{"room":"r","data":2}]}`
	s.ask("POST", "/v1/publish", body, "Idempotency-Key", "batch").into(t, 201, &first)
	s.ask("POST", "/v1/publish", body, "Idempotency-Key", "batch").into(t, 201, &again)
	for i, result := range again.Results {
		if !result.Duplicate || result.Offset != first.Results[i].Offset || first.Results[i].Duplicate {
			t.Errorf("result %d is %+v, first %+v", i, result, first.Results[i])
		}
	}
	// The second of two different ones with one id is refused, beside one that is sent.
	p := s.ask("POST", "/v1/publish", `{"messages":[{"room":"r","data":3,"id":"x"},{"room":"r","data":4,"id":"x"},{"room":"r","data":5}]}`).problem(t, 422)
	if len(p.Results) != 3 || p.Results[0].Offset == "" || p.Results[1].Status != 422 || p.Results[1].Offset != "" || p.Results[2].Offset == "" {
		t.Errorf("got %+v", p)
	}
	for _, n := range []int{0, 1, 2, 3, 5} {
		watch.next(fmt.Sprintf(`42["message",%d,`, n))
	}
	// The longest key leaves room for the number of the message.
	s.ask("POST", "/v1/publish", `{"messages":[{"room":"r"}]}`, "Idempotency-Key", strings.Repeat("k", 255)).into(t, 201, &first)
}

func TestStorageFails(t *testing.T) {
	s := startService(t)
	watch := s.connect("r")
	s.log.fail(errors.New("the disk is on fire"))
	answer := s.ask("POST", "/v1/publish", `{"room":"r","data":1,"id":"1"}`)
	answer.problem(t, 503)
	if strings.Contains(string(answer.body), "fire") {
		t.Errorf("the answer tells what does not concern the publisher: %s", answer.body)
	}
	p := s.ask("POST", "/v1/publish", `{"messages":[{"room":"r","data":2,"id":"2"},{"room":"r","data":3,"id":"3"}]}`).problem(t, 503)
	if len(p.Results) != 2 || p.Results[0].Status != 503 || p.Results[1].Error == "" {
		t.Errorf("got %+v", p)
	}
	s.log.fail(nil)
	for n := 1; n <= 3; n++ {
		if result := s.publish(fmt.Sprintf(`{"room":"r","data":%d,"id":"%d"}`, n, n)); result.Duplicate {
			t.Errorf("message %d: %+v", n, result)
		}
		watch.next(fmt.Sprintf(`42["message",%d,`, n))
	}
}
