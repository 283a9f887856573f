package server

import (
	"context"

	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// nodesOf returns a function that tells where the nodes of the cluster are, by their names.
func nodesOf(peers *redislog.Peers) func(ctx context.Context) (map[string]string, error) {
	return func(ctx context.Context) (map[string]string, error) {
		all, err := peers.List(ctx)
		if err != nil {
			return nil, err
		}
		nodes := make(map[string]string, len(all))
		for _, peer := range all {
			nodes[peer.Name] = peer.Info
		}
		return nodes, nil
	}
}
