package target

import (
	"hash/fnv"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// keyed is one address for publishers of servers that do not share their idempotency keys: all attempts to publish one message
// go to the same of them.
type keyed struct {
	listener net.Listener
	server   *http.Server
}

// routeByKey sends every share-th message to the special server, and the others to the address of the rest.
func routeByKey(rest, special string, share uint32) (*keyed, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		// No connection is used twice, so that the balancer behind can choose for each request.
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  log.New(io.Discard, "", 0), // publishers see the errors
		Rewrite: func(r *httputil.ProxyRequest) {
			hash := fnv.New32a()
			_, _ = hash.Write([]byte(r.In.Header.Get("Idempotency-Key"))) // never fails
			to := rest
			if hash.Sum32()%share == 0 {
				to = special
			}
			r.SetURL(&url.URL{Scheme: "http", Host: to})
		},
	}
	k := &keyed{listener: listener, server: &http.Server{Handler: proxy}}
	go func() { _ = k.server.Serve(listener) }() // until close
	return k, nil
}

func (k *keyed) addr() string { return k.listener.Addr().String() }

func (k *keyed) close() { _ = k.server.Close() }
