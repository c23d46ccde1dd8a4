package namesvc

import "strings"

// Skeleton is what a handle looks like at a glance. Two handles with one
// skeleton are confusable, and only one of them can be registered: the skeleton,
// not the spelling, is the key of the state.
type Skeleton string

// Skeleton returns the handle's skeleton. The steps and their order are frozen
// (SPEC-names §3):
//
//  1. drop every _
//  2. replace each character: 1 and i become l, 0 becomes o, 5 becomes s
//  3. replace each character: m becomes rn, w becomes vv
//
// Step 3 expands instead of contracting, because contracting has no canonical
// result: vvv would become wv or vw by the direction of reading, and @wv_ and
// @vw_ would not be found confusable with each other.
func (h Handle) Skeleton() Skeleton {
	var b strings.Builder
	b.Grow(2 * len(h))
	for i := 0; i < len(h); i++ {
		switch c := h[i]; c {
		case '_':
		case '1', 'i':
			b.WriteByte('l')
		case '0':
			b.WriteByte('o')
		case '5':
			b.WriteByte('s')
		case 'm':
			b.WriteString("rn")
		case 'w':
			b.WriteString("vv")
		default:
			b.WriteByte(c)
		}
	}
	return Skeleton(b.String())
}

// Confusable reports whether a reader may take one for the other although they
// are not the same.
func (h Handle) Confusable(other Handle) bool {
	return h != other && h.Skeleton() == other.Skeleton()
}
