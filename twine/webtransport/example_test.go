package webtransport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/webtransport"
)

// Polling and WebSocket on TCP port 443, WebTransport on UDP port 443.
func Example() {
	cert, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}

	srv := twine.NewServer(&twine.Options{Engine: engineio.Options{
		Transports: []string{engineio.Polling, engineio.WebSocket, engineio.WebTransport},
	}})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	web := &http.Server{Addr: ":443", Handler: mux, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second}
	wt := &webtransport.Server{Addr: ":443", Engine: srv.Engine(), TLSConfig: config}

	failed := make(chan error, 2)
	go func() { failed <- web.ListenAndServeTLS("", "") }()
	go func() { failed <- wt.ListenAndServe() }()
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	select {
	case err = <-failed:
	case <-interrupted.Done():
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(err, srv.Close(ctx), wt.Close(), web.Shutdown(ctx)); err != nil {
		log.Fatal(err)
	}
}
