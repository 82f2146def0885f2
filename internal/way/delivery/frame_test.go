package delivery

import (
	"testing"
	"time"
)

// TestHelloOfOtherVersions: either end may be older.
func TestHelloOfOtherVersions(t *testing.T) {
	for _, tc := range []Hello{
		{Version: Version, Idle: time.Second},
		{Version: Version, Idle: time.Second, Start: Start{Boot: 7, Instance: [16]byte{9}}},
		{Version: Version, Idle: time.Second, Clock: HelloClock{Speaks: true, Times: [2]int64{1, 2}}},
		{Version: Version, Idle: time.Second, Start: Start{Boot: 7, Instance: [16]byte{9}}, Clock: HelloClock{Speaks: true, Times: [2]int64{1, 2}}},
	} {
		frame := AppendHello(nil, tc)
		got, err := ParseHello(FrameHello, frame[headBytes+1:])
		if err != nil || got != tc {
			t.Errorf("%+v became %+v, %v", tc, got, err)
		}
		// What an older end reads: version 1, and the start if it knows of that.
		if frame[headBytes+1+len(helloMagic)] != 1 {
			t.Errorf("an older end would refuse %+v", tc)
		}
	}
}
