package twine_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine"
)

// pollingClient is a bare client over HTTP long-polling.
type pollingClient struct {
	t      *testing.T
	url    string
	client *http.Client
}

func dialPolling(t *testing.T, srv *testServer) *pollingClient {
	c := &pollingClient{t: t, url: srv.url + "?EIO=4&transport=polling", client: &http.Client{}}
	t.Cleanup(c.client.CloseIdleConnections)
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(c.poll(), "0")), &open); err != nil || open.SID == "" {
		t.Fatalf("no session: %v", err)
	}
	c.url += "&sid=" + open.SID
	return c
}

func (c *pollingClient) do(method, body string) string {
	c.t.Helper()
	request, err := http.NewRequestWithContext(testContext(c.t), method, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s %q %v", method, response.Status, data, err)
	}
	return string(data)
}

func (c *pollingClient) poll() string { c.t.Helper(); return c.do(http.MethodGet, "") }
func (c *pollingClient) post(packets ...string) {
	c.t.Helper()
	c.do(http.MethodPost, strings.Join(packets, "\x1e"))
}

func TestPolling(t *testing.T) {
	srv := serve(t, nil)
	reasons := make(chan string, 1)
	srv.OnConnect(func(s *twine.Socket) {
		s.Join("room")
		s.On("blob", func(_ context.Context, e *twine.Event) {
			var b []byte
			if err := e.Args(&b); err != nil {
				t.Error(err)
			}
			if err := e.Ack(string(b)); err != nil {
				t.Error(err)
			}
		})
		s.OnDisconnect(func(reason string) { reasons <- reason })
	})
	c := dialPolling(t, srv)
	c.post("40")
	if got := c.poll(); !strings.HasPrefix(got, `40{"sid":"`) {
		t.Fatalf("polled %q", got)
	}
	if err := srv.To("room").Emit("news", 1, []byte{0, 1, 2}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.poll(), "451-[\"news\",1,{\"_placeholder\":true,\"num\":0}]\x1ebAAEC"; got != want {
		t.Errorf("polled %q, want %q", got, want)
	}
	c.post(`451-3["blob",{"_placeholder":true,"num":0}]`, "bYmxvYg==")
	if got := c.poll(); got != `433["blob"]` {
		t.Errorf("polled %q", got)
	}
	c.post("1")
	if got := c.poll(); got != "6" {
		t.Errorf("polled %q", got)
	}
	if got := receive(t, reasons); got != twine.ReasonTransportClose {
		t.Errorf("disconnected because of %q", got)
	}
}
