package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options configure a Client. Only Key is needed.
type Options struct {
	// URL is the daemon's address, such as https://twine.example.com. A path is a prefix of the API's paths.
	// "" means http://127.0.0.1:3005.
	URL string
	// Key is one of the daemon's API keys.
	Key string
	// HTTPClient sends the requests. Nil means one of its own, with the defaults of package http but for how many
	// connections it keeps open. Redirects are not followed: they would lose the body or the key.
	HTTPClient *http.Client
	// Timeout bounds each attempt, up to the end of its answer. 0 means 20 seconds, a little more than the daemon takes
	// before it says that it can't.
	Timeout time.Duration
	// MaxAttempts is how often a message is sent until a clear answer comes. 0 means 10, which with the default waits
	// takes 11 to 21 seconds if each is refused at once. 1 means never again, a negative number as long as the context
	// lasts.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the wait between two attempts: it doubles from the first to the second, and half of
	// it is left to chance. 0 means 100 ms and 5 s. A Retry-After of the daemon's, up to a minute, is waited out.
	MinBackoff, MaxBackoff time.Duration
}

const (
	defaultURL      = "http://127.0.0.1:3005"
	defaultTimeout  = 20 * time.Second
	defaultAttempts = 10
	defaultMinWait  = 100 * time.Millisecond
	defaultMaxWait  = 5 * time.Second
)

// Client publishes messages. Its methods may be called concurrently.
type Client struct {
	endpoint string
	key      string
	http     *http.Client
	timeout  time.Duration
	attempts int
	backoff  backoff
}

// New returns a Client. It fails if an option makes no sense, and asks nothing of the daemon.
func New(opts Options) (*Client, error) {
	base, err := url.Parse(cmp.Or(opts.URL, defaultURL))
	switch {
	case err != nil:
		return nil, fmt.Errorf("publish: the URL is malformed: %w", err)
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("publish: %q is not the URL of a server; write it like https://twine.example.com", opts.URL)
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("publish: the URL %s has more than a host and a path", base.Redacted())
	case opts.Key == "":
		return nil, errors.New("publish: the API key is missing")
	case strings.ContainsFunc(opts.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("publish: the API key holds something other than visible ASCII characters")
	case opts.Timeout < 0 || opts.MinBackoff < 0 || opts.MaxBackoff < 0:
		return nil, errors.New("publish: a duration is negative")
	}
	c := &Client{
		endpoint: base.JoinPath("v1", "publish").String(),
		key:      opts.Key,
		timeout:  cmp.Or(opts.Timeout, defaultTimeout),
		attempts: cmp.Or(opts.MaxAttempts, defaultAttempts),
		backoff:  backoff{min: cmp.Or(opts.MinBackoff, defaultMinWait), max: cmp.Or(opts.MaxBackoff, defaultMaxWait)},
	}
	c.backoff.max = max(c.backoff.min, c.backoff.max)
	client := http.Client{Transport: newTransport()}
	if opts.HTTPClient != nil {
		client = *opts.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &client
	return c, nil
}

// maxIdleConnections lets as many goroutines publish at once without a new connection for each message.
const maxIdleConnections = 64

func newTransport() http.RoundTripper {
	shared, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport // the program has put its own there
	}
	transport := shared.Clone()
	transport.MaxIdleConnsPerHost = maxIdleConnections
	return transport
}

// Publish sends a message and returns when the daemon has it safe, which the default durability of the daemon makes mean:
// on its disk. It tries again, see [Options], until ctx ends.
//
// An error that matches *GaveUpError leaves open whether the message was published. With any other one it was not: *Error is
// the daemon's refusal, and the rest are messages that can't be sent at all.
func (c *Client) Publish(ctx context.Context, m Message) (Result, error) {
	message, err := encode(&m)
	if err != nil {
		return Result{}, err
	}
	results, errs := c.deliver(ctx, []encoded{message})
	return results[0], errs[0]
}

// CloseIdleConnections closes the connections that no request is using. A Client needs no other closing, and not even this
// unless many are made.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// PublishBatch sends messages in as few requests as they fit, 1,000 messages or 1 MB each, one after the other. If each is
// taken at the first attempt they keep their order.
//
// It returns one result for each message. Those that were not published have the zero Result, and make the error a
// *BatchError, which says of each what Publish would have said. The others are published all the same.
func (c *Client) PublishBatch(ctx context.Context, messages []Message) ([]Result, error) {
	results, errs := make([]Result, len(messages)), make([]error, len(messages))
	ready := make([]encoded, 0, len(messages))
	places := make([]int, 0, len(messages)) // where each of ready is in messages
	for i := range messages {
		message, err := encode(&messages[i])
		if err != nil {
			errs[i] = err
			continue
		}
		ready, places = append(ready, message), append(places, i)
	}
	for len(ready) > 0 {
		n := fitting(ready)
		some, failures := c.deliver(ctx, ready[:n])
		for i, place := range places[:n] {
			results[place], errs[place] = some[i], failures[i]
		}
		ready, places = ready[n:], places[n:]
	}
	return results, batchError(errs)
}
