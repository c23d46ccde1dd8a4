package concierge

import (
	"context"
	"hash/maphash"
	"io"
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

// longestDebt is the longest that anybody waits for what others of a bucket took: a
// clock that stepped back is no debt, and who owes and leaves does not keep others
// out. At the rates there are it takes thousands of readers at once to owe so much.
const longestDebt = time.Minute

// owe takes in any case, and returns how long to wait until what was taken has been
// paid for, longestDebt at most: a burst needs no waiting.
func (b *bucket) owe(cost, rate, burst float64, now time.Time) time.Duration {
	each := float64(time.Second) / rate
	for {
		old := b.full.Load()
		most := now.UnixNano() + int64(burst*each+float64(longestDebt))
		next := min(max(old, now.UnixNano())+int64(cost*each), most)
		if b.full.CompareAndSwap(old, next) {
			return max(0, time.Duration(next-now.UnixNano()-int64(burst*each)))
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
	return b.of(id).take(cost, b.rate, b.burst, now)
}

func (b *buckets) of(id [32]byte) *bucket { return &b.all[maphash.Bytes(b.seed, id[:])%bucketCount] }

// A paced reader is one of several that share a bucket: they wait for one another.
type paced struct {
	io.Reader
	ctx         context.Context
	bucket      *bucket
	rate, burst float64
}

// pacedPiece is the most bytes that are read between two waits.
const pacedPiece = 64 << 10

// pace has r, which ends with ctx, read at the rate of a bucket.
func (b *buckets) pace(ctx context.Context, id [32]byte, r io.Reader) *paced {
	return &paced{Reader: r, ctx: ctx, bucket: b.of(id), rate: b.rate, burst: b.burst}
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), pacedPiece)])
	if wait := p.bucket.owe(float64(n), p.rate, p.burst, time.Now()); n > 0 && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			return n, context.Cause(p.ctx)
		}
	}
	return n, err
}

// pacedSeeker is paced for who reads parts.
type pacedSeeker struct {
	*paced
	seeker io.Seeker
}

// Seek implements io.Seeker.
func (p pacedSeeker) Seek(offset int64, whence int) (int64, error) {
	return p.seeker.Seek(offset, whence)
}
