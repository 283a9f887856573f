package server

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/twine/parser"
)

// metrics are what GET /metrics tells a Prometheus server. It takes an API key, because the daemon's address is one that
// browsers reach.
type metrics struct {
	registry  *prometheus.Registry
	published *prometheus.CounterVec
	latency   prometheus.Histogram
	requests  *prometheus.CounterVec
}

// Results of a publish, as the label of twine_published_total.
const (
	resultAccepted  = "accepted"
	resultDuplicate = "duplicate" // it had been accepted before
	resultRefused   = "refused"   // for what it is
	resultFailed    = "failed"    // it may be sent again
)

func newMetrics(clients func() int) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twine_published_total", Help: "Messages that publishers sent, by what became of them.",
		}, []string{"result"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "twine_publish_seconds", Help: "Time from when a message was read until it was stored and handed out, or was not.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twine_http_requests_total", Help: "HTTP requests other than those of clients, by status.",
		}, []string{"code", "method"}),
	}
	for _, result := range []string{resultAccepted, resultDuplicate, resultRefused, resultFailed} {
		m.published.WithLabelValues(result)
	}
	m.registry.MustRegister(m.published, m.latency, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "twine_clients", Help: "Connected clients.",
		}, func() float64 { return float64(clients()) }))
	return m
}

// publishDone counts a message whose fate is known.
func (m *metrics) publishDone(began time.Time, duplicate bool, err error) {
	result := resultAccepted
	switch {
	case errors.Is(err, repeat.ErrOther), errors.Is(err, parser.ErrMalformed), errors.Is(err, parser.ErrReservedEvent):
		result = resultRefused
	case err != nil:
		result = resultFailed
	case duplicate:
		result = resultDuplicate
	}
	m.published.WithLabelValues(result).Inc()
	m.latency.Observe(time.Since(began).Seconds())
}

func (m *metrics) handler(keys *apikey.Set) http.Handler {
	exposition := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Authorization")
		if scheme, token, found := strings.Cut(key, " "); found && strings.EqualFold(scheme, "Bearer") {
			key = token
		}
		if !keys.Contains(key) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="twine"`)
			answer(http.StatusUnauthorized, "an API key is needed: send it as \"Authorization: Bearer <key>\"")(w, r)
			return
		}
		exposition.ServeHTTP(w, r)
	})
}

// counted counts the requests that h answers.
func (m *metrics) counted(h http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(m.requests, h)
}
