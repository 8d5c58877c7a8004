/** The version of everything in this tree. */
export const VERSION = "0.1.0";
