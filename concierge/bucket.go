package concierge

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// A bucket lets through so many requests in a second, and so many at once: a
// generic cell rate, one time.
type bucket struct{ full atomic.Int64 } // Unix nanoseconds at which it is full again

// take reports whether cost requests may pass now.
func (b *bucket) take(cost, rate, burst float64, now time.Time) bool {
	each := float64(time.Second) / rate
	for {
		old := b.full.Load()
		longest := now.UnixNano() + int64(burst*each)
		// A clock that stepped back locks nobody out for longer than an empty
		// bucket takes to fill.
		next := min(max(old, now.UnixNano()), longest) + int64(cost*each)
		if next > longest {
			if old > longest {
				b.full.CompareAndSwap(old, longest)
			}
			return false
		}
		if b.full.CompareAndSwap(old, next) {
			return true
		}
	}
}

// bucketCount is how many buckets all queues share: half a megabyte. Queues that
// fall into one bucket share its rate; which do, no outsider can know.
const bucketCount = 1 << 16

// buckets has one for each queue without remembering queues.
type buckets struct {
	seed        maphash.Seed
	rate, burst float64
	all         []bucket
}

func newBuckets(rate, burst float64) *buckets {
	return &buckets{seed: maphash.MakeSeed(), rate: rate, burst: burst, all: make([]bucket, bucketCount)}
}

func (b *buckets) take(id [32]byte, cost float64, now time.Time) bool {
	return b.all[maphash.Bytes(b.seed, id[:])%bucketCount].take(cost, b.rate, b.burst, now)
}
