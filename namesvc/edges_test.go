package namesvc_test

import "testing"

// Where a rule turns over is consensus: a validator that is a second or a bit
// off is on another chain.

// TestRelease_TakesEffectAtItsVerySecond: the undo window is open in the second
// before, and closed in the one that the entry names.
func TestRelease_TakesEffectAtItsVerySecond(t *testing.T) {
	for _, edge := range []struct{ wait, cancel string }{{"98s", "ok"}, {"99s", "nothing-pending"}} {
		tellStory(t, `
params undo=100s
actor alice person
register alice @alice               => ok
release alice @alice by=r1 as=first => ok
block
time +`[1:]+edge.wait+`
cancel alice by=r0 op=first         => `+edge.cancel+`
block
`)
	}
}

// TestRegister_AHandleRestsToItsVerySecond is the same for a handle that was
// given up: nobody has it a second too early.
func TestRegister_AHandleRestsToItsVerySecond(t *testing.T) {
	for _, edge := range []struct{ wait, register string }{{"98s", "handle-retired"}, {"99s", "ok"}} {
		tellStory(t, `
params quarantine=100s
actor alice person
actor bob person
register alice @alice      => ok
commit bob @alice as=early => ok
release alice @alice by=r0 => ok
block
time +`[1:]+edge.wait+`
reveal early               => `+edge.register+`
block
`)
	}
}

// TestCommit_OneBitTooLittleIsTooLittle: with a single bit asked for, whatever
// does not suffice has exactly one bit less.
func TestCommit_OneBitTooLittleIsTooLittle(t *testing.T) {
	tellStory(t, `
params work_bits=1
actor alice person
commit alice @alice payment=little => not-enough-work
commit alice @alice                => ok
block
`[1:])
}

// TestCancel_UndoesOnlyWhatItNames: a cancel that comes late must not undo the
// change that came after the one it was meant for.
func TestCancel_UndoesOnlyWhatItNames(t *testing.T) {
	tellStory(t, `
actor alice person
register alice @alice                => ok
release alice @alice by=r1 as=first  => ok
block
cancel alice by=r0 op=first          => ok
block
release alice @alice by=r1 as=second => ok
block
cancel alice by=r0 op=first          => nothing-pending
block
entry alice => pending=release,@alice,r1
cancel alice by=r0 op=second         => ok
block
entry alice => pending=none
`[1:])
}
