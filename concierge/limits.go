package concierge

import (
	"time"

	"github.com/confab-chat/confab/stream/chunk"
)

// Bounds of a connection's beginning and of control requests.
const (
	// maxHandshake is the most bytes one message of a handshake may have; the
	// largest has a chain id, two hashes, a key and a signature.
	maxHandshake = 512
	// handshakeTime is how long a handshake may take, the light client's work
	// included; who needs longer holds a place that others want.
	handshakeTime = 15 * time.Second
	// maxHandshakes is how many are under way at once: each may cost a question
	// to the chain and two signatures.
	maxHandshakes = 64
	// maxText is the most bytes of a refusal's text that cross.
	maxText = 512
)

// Bounds of what one account keeps here.
const (
	// MaxQueues is the most queues one account may have: two for each of some
	// hundred contacts, and those being replaced after a switch. All of their
	// records fit one stream entry several times over.
	MaxQueues = 512
	// MaxKnock is the most bytes of a knock's sealed body: a signed request with a
	// greeting, padded, and its key sealed to each of 16 devices under X-Wing.
	MaxKnock = 24 << 10
	// maxKnocks wait at most for one account; more are noise that nobody reads.
	maxKnocks = 100
	// MaxPackage is the most bytes of one KeyPackage: X-Wing keys and a
	// credential with its proof come to about 4,000.
	MaxPackage = 16 << 10
	// MaxPackages is the most one-time KeyPackages that wait for one device.
	MaxPackages = 100
	// maxUpload is the most bytes of packages in one request; it leaves room in
	// a frame for the request itself.
	maxUpload = 60 << 10
	// keepPackage is how long a one-time KeyPackage waits. Its own lifetime is
	// the device's business; this is when a device that never returns is swept.
	keepPackage = 90 * 24 * time.Hour
	// keepKnock is how long a knock waits.
	keepKnock = 30 * 24 * time.Hour
)

// Limits say what a concierge admits. Zero fields take the default's value.
type Limits struct {
	// QueueEntries, QueueBytes and QueueTTL bound one queue.
	QueueEntries uint64
	QueueBytes   uint64
	QueueTTL     time.Duration
	// AccountBytes bounds the sum of the QueueBytes of an account's queues, so
	// that what one queue was promised no other can use up.
	AccountBytes uint64
	// QueueRate is how many messages one queue takes in a second, QueueBurst how
	// many at once. Who writes is not known and not asked.
	QueueRate, QueueBurst float64
	// Rate and Burst are the requests of one connection, likewise.
	Rate, Burst float64
	// MediaBlob is the most bytes of one file; MediaBytes of an account's files
	// that expire, at the latest after MediaTTL.
	MediaBlob, MediaBytes uint64
	MediaTTL              time.Duration
	// MediaRate is the bytes in a second of files that one network may fetch, and
	// that it may upload: one reader does not take the whole line.
	MediaRate uint64
	// VaultBytes bounds the entries of an account's vault, VaultMediaBytes the
	// files that belong to it; neither expires.
	VaultBytes, VaultMediaBytes uint64
	// Tunnels is how many one device has to other services at once, TunnelRate
	// the bytes in a second of each in each direction.
	Tunnels    int
	TunnelRate uint64
	// Connections is how many there are at most, PrefixConnections how many from
	// one network (24 bits of an IPv4 address, 48 of an IPv6 one).
	Connections, PrefixConnections int
	// WorkBits and WorkKiB are the price of a knock or a KeyPackage for a
	// stranger, as in package ticket: 2^WorkBits evaluations of Argon2id.
	WorkBits int
	WorkKiB  uint32
	// Grace is how long connections stay when the chain cannot be asked. Shorter
	// is safer against somebody who steals a device and cuts the concierge off;
	// longer is kinder while the chain is down.
	Grace time.Duration
	// Tokens is how many tokens one account of this concierge gets in a day, each
	// for a knock somewhere; IssuerTokens is how many of one concierge's users are
	// taken here in a day. Less than 0: none.
	Tokens, IssuerTokens int
}

// DefaultLimits returns the limits of a public concierge.
func DefaultLimits() Limits {
	return Limits{
		QueueEntries: 10_000, QueueBytes: 16 << 20, QueueTTL: 30 * 24 * time.Hour, AccountBytes: 1 << 30,
		QueueRate: 20, QueueBurst: 400, Rate: 200, Burst: 4000,
		MediaBlob: 100 << 20, MediaBytes: 2 << 30, MediaTTL: 30 * 24 * time.Hour, MediaRate: 16 << 20, VaultBytes: 64 << 20, VaultMediaBytes: 1 << 30,
		Tunnels: 8, TunnelRate: 512 << 10,
		Connections: 20_000, PrefixConnections: 256,
		WorkBits: 11, WorkKiB: 1024, // about a second of one core; half a millisecond to check
		Grace: 10 * time.Minute, Tokens: 30, IssuerTokens: 500,
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// filled returns l with the defaults where it says nothing.
func (l Limits) filled() Limits {
	d := DefaultLimits()
	return Limits{
		QueueEntries: or(l.QueueEntries, d.QueueEntries), QueueBytes: or(l.QueueBytes, d.QueueBytes),
		QueueTTL: or(l.QueueTTL, d.QueueTTL), AccountBytes: or(l.AccountBytes, d.AccountBytes),
		QueueRate: or(l.QueueRate, d.QueueRate), QueueBurst: or(l.QueueBurst, d.QueueBurst),
		Rate: or(l.Rate, d.Rate), Burst: or(l.Burst, d.Burst),
		MediaBlob: min(or(l.MediaBlob, d.MediaBlob), chunk.MaxLength), MediaBytes: or(l.MediaBytes, d.MediaBytes), MediaTTL: or(l.MediaTTL, d.MediaTTL), MediaRate: or(l.MediaRate, d.MediaRate),
		VaultBytes: or(l.VaultBytes, d.VaultBytes), VaultMediaBytes: or(l.VaultMediaBytes, d.VaultMediaBytes),
		Tunnels: or(l.Tunnels, d.Tunnels), TunnelRate: or(l.TunnelRate, d.TunnelRate),
		Connections: or(l.Connections, d.Connections), PrefixConnections: or(l.PrefixConnections, d.PrefixConnections),
		WorkBits: or(l.WorkBits, d.WorkBits), WorkKiB: or(l.WorkKiB, d.WorkKiB), Grace: or(l.Grace, d.Grace),
		Tokens: or(l.Tokens, d.Tokens), IssuerTokens: or(l.IssuerTokens, d.IssuerTokens),
	}
}
