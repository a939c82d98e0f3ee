/** The kinds of section in a state, and the size of a page: apart, for the thread of a live save, which starts by what it loads. */

export const PAGE_BYTES = 4096;

/** `memory` holds the pages themselves, `image` says where in the file they stand. */
export const SECTION = { identity: 1, machine: 2, vcpu: 3, memory: 4, image: 5 } as const;
