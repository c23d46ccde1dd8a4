package stream

import "time"

// A Clock is a store's own time, in seconds since it was made. It decides what
// has expired and nothing else, and it must never run ahead of real time by
// much, or it would expire what should wait: so it follows the differences of
// another clock, never back, and never further at once than that clock can be
// trusted to have run on. Where it is wrong, things expire late.
type Clock struct {
	Seconds uint64
	Wall    time.Time // of the other clock, when it was last looked at
	rest    time.Duration
}

// Advance moves c to a moment of the other clock, by at most leap.
func (c *Clock) Advance(wall time.Time, leap time.Duration) {
	if !c.Wall.IsZero() {
		c.rest += min(max(wall.Sub(c.Wall), 0), leap)
		c.Seconds += uint64(c.rest / time.Second)
		c.rest %= time.Second
	}
	c.Wall = wall
}
