/* Loops over the slices of dense convolution kernels, where every slice is a block of its own (docs/math.md).

   With a slice B of k taps, the patches P have a row for each of the t shifts of the map: P[d, y] = B[y + shift d]. All
   functions read each number of a kernel once and write each once; what lies between stays in registers and in the
   innermost cache. LANES slices are handled at a time, tap by tap: their taps are transposed when they are read.

   Compiled for one type: REAL is what is computed in, STORED what memory holds (the same, or 16 bits of bfloat16).
*/

#include <stdint.h>
#include <string.h>

#ifdef BFLOAT16
typedef float REAL;
typedef uint16_t STORED;
static inline REAL widened(STORED x) {
  uint32_t bits = (uint32_t)x << 16;
  REAL value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline STORED narrowed(REAL value) { /* to the nearest, ties to even */
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (STORED)(bits >> 16) | 0x40; /* not a number, quiet */
  return (STORED)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
#else
#ifndef REAL
#define REAL float
#endif
typedef REAL STORED;
static inline REAL widened(STORED x) { return x; }
static inline STORED narrowed(REAL value) { return value; }
#endif

#define LANES (64 / (int)sizeof(REAL))
#define INLINE static inline __attribute__((always_inline))

typedef REAL vec __attribute__((vector_size(64)));

/* Which taps meet under which shift: pairs first[d] to first[d + 1] of shift d have B[from] at the place of tap to. */
typedef struct {
  int32_t taps, shifts;
  const int32_t *first, *to, *from;
} Geometry;

/* Where the slices of a kernel lie: outer runs of inner slices; strides in numbers. */
typedef struct {
  int64_t outer, inner, outer_stride, slice_stride, tap_stride;
} Place;

/* What is done with a gradient after it was multiplied: torch.optim.SGD. */
typedef struct {
  REAL rate, momentum, dampening, decay, sign, center;
  int32_t nesterov, first;
} Update;

INLINE void load(vec *into, const STORED *from, int taps, int lanes, int64_t slice_stride, int64_t tap_stride) {
  REAL *flat = (REAL *)into;
  for (int y = 0; lanes < LANES && y < taps; y++) into[y] = (vec){0};
  if (slice_stride == 1)
    for (int y = 0; y < taps; y++)
      for (int l = 0; l < lanes; l++) flat[y * LANES + l] = widened(from[y * tap_stride + l]);
  else
    for (int l = 0; l < lanes; l++)
      for (int y = 0; y < taps; y++) flat[y * LANES + l] = widened(from[l * slice_stride + y * tap_stride]);
}

INLINE void store(STORED *into, const vec *from, int taps, int lanes, int64_t slice_stride, int64_t tap_stride) {
  const REAL *flat = (const REAL *)from;
  if (slice_stride == 1)
    for (int y = 0; y < taps; y++)
      for (int l = 0; l < lanes; l++) into[y * tap_stride + l] = narrowed(flat[y * LANES + l]);
  else
    for (int l = 0; l < lanes; l++)
      for (int y = 0; y < taps; y++) into[l * slice_stride + y * tap_stride] = narrowed(flat[y * LANES + l]);
}

/* One where the base is not zero, zero elsewhere. */
INLINE void kept(vec *mask, const vec *base, int taps) {
  const REAL *from = (const REAL *)base;
  REAL *into = (REAL *)mask;
  for (int at = 0; at < taps * LANES; at++) into[at] = from[at] != 0;
}

INLINE vec adjoint(const vec *gradient, const vec *base, const Geometry *map, int d) {
  vec sum = {0};
  for (int e = map->first[d]; e < map->first[d + 1]; e++) sum += gradient[map->to[e]] * base[map->from[e]];
  return sum;
}

INLINE void add_refocused(vec *out, vec weight, const vec *base, const Geometry *map, int d) {
  for (int e = map->first[d]; e < map->first[d + 1]; e++) out[map->to[e]] += weight * base[map->from[e]];
}

/* out = g G / c^2 + s g as (g P^T) P, where root holds c and shift s; with a mask M ((M g) G) M / c^2 + s M g. */
INLINE void multiplied(vec *out, vec *gradient, const vec *base, const REAL *root, const REAL *shift, int lanes,
                       int keep, int taps, const Geometry *map) {
  vec mask[taps], factor, added;
  if (keep) {
    kept(mask, base, taps);
    for (int y = 0; y < taps; y++) gradient[y] *= mask[y];
  }
  for (int l = 0; l < LANES; l++) factor[l] = root && l < lanes ? 1 / root[l] : 1;
  for (int y = 0; y < taps; y++) out[y] = (vec){0};
  for (int d = 0; d < map->shifts; d++) {
    vec weight = adjoint(gradient, base, map, d);
    if (root) weight = weight * factor * factor; /* one after the other: the square may overflow */
    add_refocused(out, weight, base, map, d);
  }
  if (shift) {
    for (int l = 0; l < LANES; l++) added[l] = l < lanes ? shift[l] : 0;
    for (int y = 0; y < taps; y++) out[y] += added * gradient[y];
  }
  if (keep)
    for (int y = 0; y < taps; y++) out[y] *= mask[y];
}

INLINE void updated(STORED *kernel, STORED *buffer, REAL gradient, REAL base, const Update *rule) {
  REAL value = widened(*kernel), change;
  change = rule->sign * gradient + rule->decay * (value - rule->center * base);
  if (buffer) {
    REAL moved = rule->first ? change : rule->momentum * widened(*buffer) + (1 - rule->dampening) * change;
    *buffer = narrowed(moved);
    change = rule->nesterov ? change + rule->momentum * moved : moved;
  }
  *kernel = narrowed(value - rule->rate * change);
}

INLINE void step(STORED *restrict kernel, const STORED *restrict gradient, STORED *restrict buffer,
                 const STORED *restrict base, const REAL *root, const REAL *shift, int lanes, int keep, int taps,
                 int64_t slice_stride, int64_t tap_stride, const Geometry *map, const Update *rule) {
  vec G[taps], B[taps], out[taps];
  load(G, gradient, taps, lanes, slice_stride, tap_stride);
  load(B, base, taps, lanes, slice_stride, tap_stride);
  multiplied(out, G, B, root, shift, lanes, keep, taps, map);
  if (slice_stride == 1) {
    const REAL *moved = (const REAL *)out, *center = (const REAL *)B;
    for (int y = 0; y < taps; y++)
      for (int l = 0; l < lanes; l++) {
        int64_t at = y * tap_stride + l;
        updated(kernel + at, buffer ? buffer + at : 0, moved[y * LANES + l], center[y * LANES + l], rule);
      }
  } else { /* taps lie side by side, so slices make one run of numbers */
    REAL moved[taps * LANES];
    const REAL *flat = (const REAL *)out;
    for (int l = 0; l < lanes; l++)
      for (int y = 0; y < taps; y++) moved[l * taps + y] = flat[y * LANES + l];
    for (int at = 0; at < taps * lanes; at++)
      updated(kernel + at, buffer ? buffer + at : 0, moved[at], widened(base[at]), rule);
  }
}

/* Call a loop with the number of taps as a constant where it is a common one. */
#define FOR_TAPS(call)        \
  switch (map->taps) {        \
    case 9: call(9); break;   \
    case 25: call(25); break; \
    default: call(map->taps); \
  }

/* Slices from start on, count of them, of the order in which inner runs follow one another. */
#define FOR_SLICES(body)                                                                                  \
  for (int64_t number = start, end = start + count; number < end;) {                                      \
    int64_t within = number % place->inner, left = place->inner - within;                                 \
    int64_t at = number / place->inner * place->outer_stride + within * place->slice_stride;              \
    if (left > end - number) left = end - number;                                                         \
    int lanes = left < LANES ? (int)left : LANES;                                                         \
    if (lanes == LANES && place->tap_stride == 1) { body(LANES, map_taps, 1) }                            \
    else if (place->slice_stride == 1) { body(lanes, 1, place->tap_stride) }                              \
    else { body(lanes, place->slice_stride, place->tap_stride) }                                          \
    number += lanes;                                                                                      \
  }

void refocus_step(STORED *kernel, const STORED *gradient, STORED *buffer, const STORED *base, const REAL *root,
                  const REAL *shift, int64_t start, int64_t count, int32_t keep, const Place *place,
                  const Geometry *map, const Update *rule) {
#define BODY(lanes, slice_stride, tap_stride)                                                     \
  step(kernel + at, gradient + at, buffer ? buffer + at : 0, base + at, root ? root + number : 0, \
       shift ? shift + number : 0, lanes, keep, map_taps, slice_stride, tap_stride, map, rule);
#define CALL(constant)               \
  {                                  \
    const int map_taps = constant;   \
    FOR_SLICES(BODY)                 \
  }
  FOR_TAPS(CALL)
#undef BODY
}

void refocus_gradient(STORED *out, const STORED *gradient, const STORED *base, const REAL *root, const REAL *shift,
                      int64_t start, int64_t count, int32_t keep, const Place *place, const Geometry *map) {
#define BODY(lanes, slice_stride, tap_stride)                                                                         \
  {                                                                                                                   \
    vec G[map_taps], B[map_taps], found[map_taps];                                                                    \
    load(G, gradient + at, map_taps, lanes, slice_stride, tap_stride);                                                \
    load(B, base + at, map_taps, lanes, slice_stride, tap_stride);                                                    \
    multiplied(found, G, B, root ? root + number : 0, shift ? shift + number : 0, lanes, keep, map_taps, map);        \
    store(out + at, found, map_taps, lanes, slice_stride, tap_stride);                                                \
  }
  FOR_TAPS(CALL)
#undef BODY
}

/* The two halves: R P [n, k] of refocus weights [n, t], on request with the base added, and g P^T [n, t]; slices and
   weights lie one after the other. */
INLINE void half(STORED *restrict out, const STORED *restrict given, const STORED *restrict base, int64_t start,
                 int64_t count, int add, const Geometry *map, int taps, int shifts, int forward) {
  const int in = forward ? shifts : taps, made = forward ? taps : shifts;
  vec given_[in], B[taps], found[made];
  for (int64_t number = start; number < start + count; number += LANES) {
    int64_t left = start + count - number;
    int lanes = left < LANES ? (int)left : LANES;
    if (lanes == LANES) { /* a constant */
      load(given_, given + number * in, in, LANES, in, 1);
      load(B, base + number * taps, taps, LANES, taps, 1);
    } else {
      load(given_, given + number * in, in, lanes, in, 1);
      load(B, base + number * taps, taps, lanes, taps, 1);
    }
    if (forward) {
      for (int y = 0; y < taps; y++) found[y] = (vec){0};
      for (int d = 0; d < shifts; d++) add_refocused(found, given_[d], B, map, d);
      for (int y = 0; add && y < taps; y++) found[y] += B[y]; /* last: what moves is small beside it */
    } else {
      for (int d = 0; d < shifts; d++) found[d] = adjoint(given_, B, map, d);
    }
    if (lanes == LANES)
      store(out + number * made, found, made, LANES, made, 1);
    else
      store(out + number * made, found, made, lanes, made, 1);
  }
}

#define HALF(name, forward)                                                                                         \
  void name(STORED *out, const STORED *given, const STORED *base, int64_t start, int64_t count, int32_t add,         \
            const Geometry *map) {                                                                                  \
    if (map->taps == 9 && map->shifts == 9)                                                                         \
      half(out, given, base, start, count, add, map, 9, 9, forward);                                                \
    else                                                                                                            \
      half(out, given, base, start, count, add, map, map->taps, map->shifts, forward);                              \
  }

HALF(refocus_slices, 1)
HALF(adjoint_slices, 0)
