// Package stream is the contract of ordered durable streams: the one engine
// under queues, channels and group logs. Two packages keep it, pebblestore in
// one process's folder and redisstore on a Redis that several processes share;
// package streamtest holds both to it, and package frame reaches either over
// any connection.
//
// A stream is a row of entries that only grows at one end and is only trimmed
// at the other. Entries are numbered 1, 2, 3 and so on without holes, in the
// same commit that makes them durable.
//
//	         trimmed         kept                  next
//	        ┌────────┐ ┌─────────────────────┐
//	seq      1  2  3    4  5  6  7  8  9  10         11
//	               ▲          ▲           ▲
//	              Base     a reader's    Head: seq 10 and the
//	                        cursor       hash of all ten
//
// What it guarantees. An append that was answered is there after a crash of the
// process or the machine, once, under the number it was told. The same
// [MessageID] appended again, for at least [Remember], gets the old number and
// adds nothing. No number is given twice, and order never depends on a clock. A
// reader that asks for what follows its cursor misses nothing and is told what
// was trimmed before it came. An append that names the head it expects is
// refused if the head is another. No read writes.
//
// What it does not promise. An acknowledgement may be forgotten by a crash
// within moments of being given; what it covered is then offered again. A body
// is whatever its writer made of it: readers must check it.
//
// What it must not know: who may read or write a stream, what is in a body, and
// how anybody is connected.
//
// Start at [Store], then [Head] for the chain.
package stream
