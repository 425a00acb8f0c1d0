/** A style sheet as its text: the build puts it there. */
declare module '*.css' {
  const text: string;
  export default text;
}
