package server

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/console"
	"github.com/twine-realtime/twine/recovery"
)

// newConsole returns the page for people. recent reads what of the log is in memory.
func (s *Server) newConsole(keys *apikey.Set, recent recovery.Reader) *console.Console {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	opts := console.Options{
		Twine: s.twine, Recent: recent, Authorized: keys.Contains, Version: version,
		Published: valuesOf(s.metrics.published), Ready: s.unready, Log: s.log,
	}
	if peers := s.storage.Peers; peers != nil {
		cluster := console.NewCluster(console.ClusterOptions{Twine: s.twine, Name: peers.Name(), Version: version, List: nodesOf(peers)})
		opts.Nodes, opts.Rooms = cluster.Nodes, cluster.Rooms
	}
	return console.New(opts)
}

// valuesOf returns a function that tells the values of a counter with one label.
func valuesOf(counter *prometheus.CounterVec) func() map[string]float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(counter)
	return func() map[string]float64 {
		values := map[string]float64{}
		families, err := registry.Gather()
		if err != nil {
			return values
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					values[label.GetValue()] = metric.GetCounter().GetValue()
				}
			}
		}
		return values
	}
}
