package redisstore

import (
	"context"
	"strconv"
	"time"
)

// Pass has Redis's machine run for so long, without all its ticks.
func Pass(s *Store, d time.Duration) {
	ctx := context.Background()
	for _, field := range []string{"seconds", "wall"} {
		if err := s.client.HIncrBy(ctx, s.clockKey(), field, int64(d/time.Second)).Err(); err != nil {
			panic(err)
		}
	}
	Step(s, 0)
}

// Step sets the clock of Redis's machine, as far as the store can see.
func Step(s *Store, d time.Duration) {
	ctx := context.Background()
	wall, err := s.client.HGet(ctx, s.clockKey(), "wall").Int64()
	if err == nil {
		err = s.tickTo(ctx, strconv.FormatInt(wall+int64(d/time.Second), 10))
	}
	if err != nil {
		panic(err)
	}
}

// Check has a store look at Redis's settings now.
func Check(s *Store) error { return s.check(context.Background()) }

// Judge says why a server is not to be trusted with messages, if it is not.
func Judge(info, config map[string]string, replicas int) error { return judge(info, config, replicas) }
