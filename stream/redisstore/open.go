package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Options says how to open a store. The zero value is a good one.
type Options struct {
	// Prefix begins all keys; "" means "confab". Stores with different prefixes
	// on one Redis know nothing of each other.
	Prefix string
	// Replicas is how many replicas must have an append on their disks before it
	// is answered. More than 0 needs Redis 7.2.
	Replicas int
	// Logger takes what goes wrong in the background; nil discards it.
	Logger *slog.Logger
}

const (
	// answerTime is how long Redis may take for one pipeline. A sync of a slow
	// disk takes tenths of a second; what takes longer is better tried again.
	answerTime = 5 * time.Second
	// oldest is the first version of Redis that has functions.
	oldest = 7.0
	// waits is the first that has WAITAOF.
	waits = 7.2
)

//go:embed stream.lua
var library string

// Open connects to the Redis server or cluster that a URL names, as in
// redis://user:password@host:6379/0 or rediss:// for TLS, and makes sure that it
// keeps what it acknowledges.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = "confab"
	}
	if strings.ContainsAny(o.Prefix, "{}*?[]\\") {
		return nil, wire.Errorf(wire.Invalid, "open redis: prefix %q has characters of patterns or hash tags", o.Prefix)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := dial(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open redis: %w", err)
	}
	s := newStore(client, o)
	if err := s.prepare(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("open redis: %w", err)
	}
	s.start()
	return s, nil
}

// dial connects to a server, and to its cluster if it is of one.
func dial(ctx context.Context, url string) (redis.UniversalClient, error) {
	single, err := redis.ParseURL(url)
	if err != nil { // whose text may hold the password
		return nil, wire.Errorf(wire.Invalid, "the URL is not one of Redis: write redis://user:password@host:6379/0")
	}
	single.ReadTimeout, single.WriteTimeout = answerTime, answerTime
	client := redis.NewClient(single)
	info, err := client.Info(ctx, "cluster").Result()
	if err != nil {
		client.Close()
		return nil, unavailable(err)
	}
	if !strings.Contains(info, "cluster_enabled:1") {
		return client, nil
	}
	client.Close()
	many, err := redis.ParseClusterURL(url)
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "the URL is not one of a Redis cluster: write redis://user:password@host:6379")
	}
	many.ReadTimeout, many.WriteTimeout = answerTime, answerTime
	return redis.NewClusterClient(many), nil
}

// prepare checks every server that holds keys and gives it the functions.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.checkServers(ctx); err != nil {
		return err
	}
	if err := s.loadFunctions(ctx); err != nil {
		return err
	}
	return s.tick(ctx)
}

// eachServer calls f for every server that holds keys.
func (s *Store) eachServer(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	}
	return errors.New("unknown kind of client")
}

func (s *Store) loadFunctions(ctx context.Context) error {
	return s.eachServer(ctx, func(ctx context.Context, c *redis.Client) error {
		if err := c.FunctionLoadReplace(ctx, library).Err(); err != nil {
			return wire.Errorf(wire.Unavailable, "Redis does not take our functions (%w): allow this user FUNCTION LOAD and FCALL", err)
		}
		return nil
	})
}

// checkServers makes sure that Redis keeps what it acknowledges.
func (s *Store) checkServers(ctx context.Context) error {
	return s.eachServer(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "server", "persistence").Result()
		if err != nil {
			return unavailable(err)
		}
		config := map[string]string{}
		for _, name := range []string{"appendonly", "appendfsync", "maxmemory-policy", "no-appendfsync-on-rewrite"} {
			got, err := c.ConfigGet(ctx, name).Result()
			if err != nil {
				return wire.Errorf(wire.Unavailable, "Redis does not show its setting %s (%w): allow this user CONFIG GET", name, err)
			}
			config[name] = got[name]
		}
		return judge(infoFields(info), config, s.options.Replicas)
	})
}

// judge says why a server is not to be trusted with messages, if it is not.
func judge(info, config map[string]string, replicas int) error {
	version := versionOf(info["redis_version"])
	for _, rule := range []struct {
		broken bool
		say    string
	}{
		{version < oldest, "Redis is too old: it must be 7.0 or newer"},
		{replicas > 0 && version < waits, "Redis is too old to wait for replicas (WAITAOF): use 7.2 or newer, or ask for 0 replicas and know that a failover may lose messages"},
		{config["appendonly"] != "yes" || config["appendfsync"] != "always",
			"Redis would lose acknowledged messages in a crash: set \"appendonly yes\" and \"appendfsync always\" in redis.conf, or now with CONFIG SET"},
		{config["no-appendfsync-on-rewrite"] == "yes",
			"Redis does not sync while it rewrites its file: set \"no-appendfsync-on-rewrite no\""},
		{config["maxmemory-policy"] != "noeviction" && config["maxmemory-policy"] != "",
			"Redis may evict messages when memory is short: set \"maxmemory-policy noeviction\""},
		{info["aof_last_write_status"] == "err", "Redis cannot write its append-only file: look at its disk and its log"},
	} {
		if rule.broken {
			return wire.Errorf(wire.Unavailable, "%s", rule.say)
		}
	}
	return nil
}

func infoFields(info string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// versionOf returns 7.2 for "7.2.4".
func versionOf(s string) float64 {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return 0
	}
	v, err := strconv.ParseFloat(parts[0]+"."+parts[1], 64)
	if err != nil {
		return 0
	}
	return v
}

func unavailable(err error) error {
	return wire.Errorf(wire.Unavailable, "Redis did not answer (%w): what was asked may have been done; try again", err)
}
